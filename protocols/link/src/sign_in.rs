//! The fields of the frames about sign-in: keys, sessions, revocations.
//!
//! A session holds what is as good as a password. It goes from core to core and nowhere else:
//! [`Frame::encode_for`](crate::Frame::encode_for) makes no bytes of it for an edge.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use edgeway_model::limits::{ACCESS_TOKENS_MAX, SPELLINGS_MAX};
use edgeway_model::sign_in::{
    Deployment, DigestSecret, Profile, Revocation, Session, Subject, TokenKey, TokenProof, USER_BYTES_MAX, UserName,
};
use edgeway_model::{FlowId, NodeId, Secret};

use crate::frame::{FrameFault, Identity};
use crate::limits::{SESSION_NAMES_MAX, SESSION_SERVERS_MAX, STRING_BYTES_MAX, TOKEN_KEYS_MAX};
use crate::wire::{Reader, write_string};

// The names of users and deployments are never cut by `write_string`.
const _: () = assert!(USER_BYTES_MAX <= STRING_BYTES_MAX);

pub(crate) fn write_keys(keys: &[TokenKey], out: &mut BytesMut) {
    let keys = &keys[..keys.len().min(TOKEN_KEYS_MAX)];
    out.put_u8(u8::try_from(keys.len()).unwrap_or(0));
    for key in keys {
        out.put_slice(&key.id);
        out.put_slice(&key.public);
    }
}

pub(crate) fn read_keys(reader: &mut Reader) -> Result<Vec<TokenKey>, FrameFault> {
    let count = usize::from(reader.u8()?);
    if count > TOKEN_KEYS_MAX {
        return Err(FrameFault::Field("number of keys"));
    }
    (0..count).map(|_| Ok(TokenKey { id: reader.array()?, public: reader.array()? })).collect()
}

pub(crate) fn write_revocation(revocation: &Revocation, out: &mut BytesMut) {
    write_subject(&revocation.subject, out);
    out.put_u64(revocation.before_ms);
}

pub(crate) fn read_revocation(reader: &mut Reader) -> Result<Revocation, FrameFault> {
    Ok(Revocation { subject: read_subject(reader)?, before_ms: reader.u64()? })
}

pub(crate) fn write_session(session: &Session, out: &mut BytesMut) {
    write_subject(&session.subject, out);
    out.put_u64(session.since_ms);
    out.put_u64(session.until_ms);
    out.put_u8(u8::from(session.verifier.is_some()));
    if let Some(verifier) = &session.verifier {
        out.put_slice(verifier.expose());
    }
    let digests = &session.digests[..session.digests.len().min(SPELLINGS_MAX)];
    out.put_u8(u8::try_from(digests.len()).unwrap_or(0));
    for digest in digests {
        write_string(&digest.user, out);
        write_string(&digest.realm, out);
        out.put_slice(digest.md5.expose());
        out.put_slice(digest.sha256.expose());
    }
    let tokens = &session.tokens[..session.tokens.len().min(ACCESS_TOKENS_MAX)];
    out.put_u8(u8::try_from(tokens.len()).unwrap_or(0));
    for token in tokens {
        out.put_slice(token.hash.expose());
        out.put_u64(token.since_ms);
        out.put_u64(token.until_ms);
    }
    out.put_u8(u8::from(session.devices.is_some()));
    if let Some(devices) = &session.devices {
        write_strings(devices, SESSION_NAMES_MAX, out);
    }
    write_strings(&session.numbers, SESSION_NAMES_MAX, out);
    write_strings(&session.profile.uds_servers, SESSION_SERVERS_MAX, out);
    write_strings(&session.profile.im_servers, SESSION_SERVERS_MAX, out);
}

pub(crate) fn read_session(reader: &mut Reader) -> Result<Arc<Session>, FrameFault> {
    let subject = read_subject(reader)?;
    let (since_ms, until_ms) = (reader.u64()?, reader.u64()?);
    let verifier = if reader.flag()? { Some(Secret::new(reader.array()?)) } else { None };
    let digests = read_some(reader, SPELLINGS_MAX, "number of spellings", |reader| {
        let (user, realm) = (reader.string()?, reader.string()?);
        let (md5, sha256) = (Secret::new(reader.array()?), Secret::new(reader.array()?));
        Ok(DigestSecret { user, realm, md5, sha256 })
    })?;
    let tokens = read_some(reader, ACCESS_TOKENS_MAX, "number of tokens", |reader| {
        Ok(TokenProof { hash: Secret::new(reader.array()?), since_ms: reader.u64()?, until_ms: reader.u64()? })
    })?;
    let devices = if reader.flag()? { Some(read_strings(reader, SESSION_NAMES_MAX)?) } else { None };
    let numbers = read_strings(reader, SESSION_NAMES_MAX)?;
    let profile = Profile {
        uds_servers: read_strings(reader, SESSION_SERVERS_MAX)?,
        im_servers: read_strings(reader, SESSION_SERVERS_MAX)?,
    };
    Ok(Arc::new(Session { subject, until_ms, since_ms, verifier, digests, tokens, devices, numbers, profile }))
}

pub(crate) fn write_identity(identity: &Identity, out: &mut BytesMut) {
    write_string(identity.edge.as_str(), out);
    out.put_u64(identity.boot);
    out.put_u64(identity.flow.0);
    write_string(identity.deployment.as_str(), out);
    write_strings(&identity.aors, SESSION_NAMES_MAX, out);
}

pub(crate) fn read_identity(reader: &mut Reader) -> Result<Identity, FrameFault> {
    Ok(Identity {
        edge: NodeId::new(&reader.string()?).ok_or(FrameFault::Field("node name"))?,
        boot: reader.u64()?,
        flow: FlowId(reader.u64()?),
        deployment: Deployment::new(&reader.string()?).ok_or(FrameFault::Field("deployment"))?,
        aors: read_strings(reader, SESSION_NAMES_MAX)?,
    })
}

fn write_subject(subject: &Subject, out: &mut BytesMut) {
    write_string(subject.deployment.as_str(), out);
    write_string(subject.user.as_str(), out);
}

fn read_subject(reader: &mut Reader) -> Result<Subject, FrameFault> {
    let deployment = Deployment::new(&reader.string()?).ok_or(FrameFault::Field("deployment"))?;
    let user = UserName::new(&reader.string()?).ok_or(FrameFault::Field("user name"))?;
    Ok(Subject { deployment, user })
}

fn write_strings(strings: &[String], most: usize, out: &mut BytesMut) {
    let strings = &strings[..strings.len().min(most)];
    out.put_u8(u8::try_from(strings.len()).unwrap_or(0));
    for string in strings {
        write_string(string, out);
    }
}

fn read_strings(reader: &mut Reader, most: usize) -> Result<Vec<String>, FrameFault> {
    read_some(reader, most, "number of strings", Reader::string)
}

fn read_some<T>(
    reader: &mut Reader,
    most: usize,
    what: &'static str,
    read: impl Fn(&mut Reader) -> Result<T, FrameFault>,
) -> Result<Vec<T>, FrameFault> {
    let count = usize::from(reader.u8()?);
    if count > most {
        return Err(FrameFault::Field(what));
    }
    (0..count).map(|_| read(reader)).collect()
}
