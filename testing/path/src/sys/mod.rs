//! Making a TUN device: the one thing no safe crate of ours does. Test code; no product contains it.

#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io;

use rustix::io::ioctl_fionbio;
use rustix::ioctl::{Opcode, Setter, ioctl};

/// `TUNSETIFF` of linux/if_tun.h: `_IOW('T', 202, int)`.
const TUNSETIFF: Opcode = 0x4004_54ca;
/// Whole IP packets without a header of the driver: `IFF_TUN | IFF_NO_PI`.
const FLAGS: u16 = 0x1001;
/// Bytes of an interface's name, the final zero included (`IFNAMSIZ`).
const NAME_BYTES: usize = 16;

/// `struct ifreq` of net/if.h, as far as the request reads it.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; NAME_BYTES],
    flags: u16,
    rest: [u8; 22],
}

/// A new TUN device in this thread's network namespace: each read and each write is one IP packet,
/// and none waits. The device ends with the file.
///
/// # Errors
/// What the system says; without `/dev/net/tun` or root there is none.
pub(crate) fn open_tun(name: &str) -> io::Result<File> {
    let mut request = InterfaceRequest { name: [0; NAME_BYTES], flags: FLAGS, rest: [0; 22] };
    if name.len() >= NAME_BYTES {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
    // SAFETY: TUNSETIFF reads a `struct ifreq`, which is 40 bytes long and starts with a name that
    // ends in zero and, after it, the flags; `InterfaceRequest` is laid out so.
    unsafe { ioctl(&file, Setter::<TUNSETIFF, InterfaceRequest>::new(request))? };
    ioctl_fionbio(&file, true)?;
    Ok(file)
}
