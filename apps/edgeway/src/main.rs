//! (being written)
#[cfg(test)]
mod lab;

fn main() {}
