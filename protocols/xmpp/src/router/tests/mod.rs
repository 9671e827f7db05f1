//! Whole scripts: each is played with its bytes cut in several ways, and comes to the same.

mod meeting;
mod relay;
mod signing;
mod stage;
