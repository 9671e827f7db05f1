//! The operator's Unix socket as a file: made, taken over from one who is gone, and removed.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixListener;

use super::AdminFault;

/// Of the socket: its owner and its group.
const SOCKET_MODE: u32 = 0o660;
/// Of its folder, if it has to be made.
const FOLDER_MODE: u32 = 0o755;
/// Connections the kernel holds before they are accepted.
const BACKLOG: i32 = 16;

/// Opens the socket. A file left behind by a process that is gone is replaced.
pub(super) fn bind(path: &Path) -> Result<(UnixListener, SocketFile), AdminFault> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        let made = DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder);
        made.map_err(|source| fault("create the folder", folder, source))?;
    }
    remove_stale(path)?;
    let listener = listen(path).map_err(|source| fault("listen on", path, source))?;
    let file = SocketFile::at(path).map_err(|source| fault("look at", path, source))?;
    Ok((listener, file))
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    // Linux makes the file with the mode of the socket's descriptor, less the umask: closed to all
    // but us until the mode below is set, whatever the umask is.
    let socket = File::from(OwnedFd::from(Socket::new(Domain::UNIX, Type::STREAM, None)?));
    socket.set_permissions(Permissions::from_mode(0o600))?;
    let socket = Socket::from(OwnedFd::from(socket));
    socket.bind(&SockAddr::unix(path)?)?;
    fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    UnixListener::from_std(std::os::unix::net::UnixListener::from(OwnedFd::from(socket)))
}

fn remove_stale(path: &Path) -> Result<(), AdminFault> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(fault("look at", path, source)),
    };
    if !metadata.file_type().is_socket() {
        return Err(AdminFault::NotASocket { path: path.to_owned() });
    }
    match is_answered(path) {
        Ok(false) => fs::remove_file(path).map_err(|source| fault("replace", path, source)),
        Ok(true) => Err(AdminFault::InUse { path: path.to_owned() }),
        Err(source) => Err(fault("connect to", path, source)),
    }
}

/// Whether a process listens. One whose queue is full (the answer to a dial that may not wait) does.
fn is_answered(path: &Path) -> io::Result<bool> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(false),
        Err(error) => Err(error),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the system's errors are many, and not ours")]
fn fault(action: &'static str, path: &Path, source: io::Error) -> AdminFault {
    let remedy = match source.kind() {
        io::ErrorKind::PermissionDenied => {
            "Let the user the service runs as write there, or set control_socket to a path it may write"
        }
        io::ErrorKind::ReadOnlyFilesystem => "Set control_socket to a path on a file system that can be written",
        io::ErrorKind::AddrInUse => {
            "Another process made it in this moment: start only one node with this control_socket"
        }
        // Mostly ENOTDIR, ELOOP and names that are too long.
        _ => "Check control_socket",
    };
    AdminFault::Socket { action, path: path.to_owned(), source, remedy }
}

/// The file of a socket that is served; removed with it, unless another has taken its place.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn at(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), device: metadata.dev(), inode: metadata.ino() })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = |now: &fs::Metadata| (now.dev(), now.ino()) == (self.device, self.inode);
        if fs::symlink_metadata(&self.path).is_ok_and(|now| is_ours(&now)) {
            let _ = fs::remove_file(&self.path);
        }
    }
}
