//! What crosses both nodes, byte for byte: headers, bodies, errors and dialogs, as a client and a
//! registrar see them.

mod bearer;
mod bodies;
mod dialogs;
mod ended;
mod headers;
mod hostile;
mod identity;
mod impostors;
mod lists;
mod maintenance;
mod register;
mod registrars;
mod rig;
mod sign_in;
mod talk;
mod traced;
mod verdicts;
