//! What crosses both nodes, byte for byte: headers, bodies, errors and dialogs, as a client and a
//! registrar see them.

mod dialogs;
mod headers;
mod register;
mod rig;
mod talk;
mod verdicts;
