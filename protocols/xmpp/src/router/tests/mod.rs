mod signing;
mod stage;
