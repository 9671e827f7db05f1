//! Who may administer Edgeway.

pub mod rows;
