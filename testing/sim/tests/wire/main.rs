//! What crosses both nodes, byte for byte: headers, bodies, errors and dialogs, as a client and a
//! registrar see them.

mod register;
mod rig;
mod verdicts;
