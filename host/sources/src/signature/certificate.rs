//! An OpenPGP certificate: a key, what it says of itself, and keys that it has bound to itself (RFC 9580, 10.1).

use anyhow::ensure;

use super::{
    keys::PublicKey,
    packet::{Key, Packet, Signature, kind, tag},
};

/// A key that may sign, or why it may not.
pub(super) struct Signer<'a> {
    pub(super) key: Key<'a>,
    pub(super) state: State,
    /// Seconds since 1970 at which it stops to be valid.
    pub(super) expires_at: Option<u64>,
}

/// What a key is good for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    Good,
    /// Nothing says that it belongs to anybody.
    Unbound,
    /// It is for something else.
    CannotSign,
    Revoked,
}

/// The keys of all certificates in a keyring.
pub(super) fn signers<'a>(packets: &[Packet<'a>]) -> anyhow::Result<Vec<Signer<'a>>> {
    ensure!(
        packets.iter().all(|packet| packet.tag != tag::SECRET_KEY),
        "there is a secret key among the public keys: give what `gpg --export --armor` writes"
    );
    let mut signers = Vec::new();
    let starts = packets.iter().enumerate().filter(|(_, packet)| packet.tag == tag::PUBLIC_KEY);
    for (start, first) in starts {
        let rest = &packets[start + 1..];
        let end = rest.iter().position(|packet| packet.tag == tag::PUBLIC_KEY).unwrap_or(rest.len());
        // A key of a kind that is not known here hides no other.
        if let Ok(primary) = Key::read(first.body) {
            signers.extend(certificate(primary, &rest[..end]));
        }
    }
    Ok(signers)
}

fn certificate<'a>(primary: Key<'a>, rest: &[Packet<'a>]) -> Vec<Signer<'a>> {
    let parts = || rest.split(|packet| packet.tag == tag::PUBLIC_SUBKEY);
    let own = parts().next().unwrap_or_default();
    let (of_primary, primary_revoked) = self_signatures(&primary, own);
    let newest = of_primary.iter().max_by_key(|signature| signature.created);
    let expires_at = newest.and_then(|it| it.key_expires).map(|after| primary.created + after);
    let whole = match newest {
        _ if primary_revoked => State::Revoked,
        None => State::Unbound,
        Some(_) => State::Good,
    };
    let state = match newest {
        Some(newest) if whole == State::Good && !newest.may_sign() => State::CannotSign,
        _ => whole,
    };
    let mut signers = vec![Signer { key: primary.clone(), state, expires_at }];
    let subkeys = rest.iter().filter(|packet| packet.tag == tag::PUBLIC_SUBKEY);
    for (packet, signatures) in subkeys.zip(parts().skip(1)) {
        let Ok(key) = Key::read(packet.body) else { continue };
        let (state, own_end) = subkey(&primary, &key, signatures);
        let state = if whole == State::Good { state } else { whole };
        let expires_at = [expires_at, own_end].into_iter().flatten().min();
        signers.push(Signer { key, state, expires_at });
    }
    signers
}

/// What the key says of itself, by its names and directly, and whether it was revoked.
fn self_signatures<'a>(primary: &Key<'a>, packets: &[Packet<'a>]) -> (Vec<Signature<'a>>, bool) {
    let mut about: Option<Packet<'_>> = None;
    let (mut good, mut revoked) = (Vec::new(), false);
    for packet in packets {
        match packet.tag {
            tag::USER_ID | tag::USER_ATTRIBUTE => about = Some(*packet),
            tag::SIGNATURE => {
                let Some(signature) = by(&primary.id, packet) else { continue };
                let mut hash = signature.hasher();
                primary.feed(&mut hash);
                match (signature.kind, about) {
                    (kind::DIRECT_KEY | kind::KEY_REVOCATION, _) => {}
                    (certification, Some(name)) if kind::CERTIFICATIONS.contains(&certification) => {
                        hash.update(&[if name.tag == tag::USER_ID { 0xb4 } else { 0xd1 }]);
                        hash.update(&(name.body.len() as u32).to_be_bytes());
                        hash.update(name.body);
                    }
                    _ => continue,
                }
                if !holds(&signature, &primary.public, hash) {
                    continue;
                }
                match signature.kind {
                    kind::KEY_REVOCATION => revoked = true,
                    _ if signature.is_weak() => {}
                    _ => good.push(signature),
                }
            }
            _ => {}
        }
    }
    (good, revoked)
}

/// What a subkey is good for, and when it stops to be.
fn subkey(primary: &Key<'_>, key: &Key<'_>, packets: &[Packet<'_>]) -> (State, Option<u64>) {
    let signatures = packets.iter().filter(|packet| packet.tag == tag::SIGNATURE);
    let mut bindings = Vec::new();
    for signature in signatures.filter_map(|packet| by(&primary.id, packet)) {
        let mut hash = signature.hasher();
        primary.feed(&mut hash);
        key.feed(&mut hash);
        if !holds(&signature, &primary.public, hash) {
            continue;
        }
        match signature.kind {
            kind::SUBKEY_REVOCATION => return (State::Revoked, None),
            kind::SUBKEY_BINDING if !signature.is_weak() => bindings.push(signature),
            _ => {}
        }
    }
    let Some(newest) = bindings.into_iter().max_by_key(|signature| signature.created) else {
        return (State::Unbound, None);
    };
    let state = match newest.may_sign() && is_bound_back(primary, key, &newest) {
        true => State::Good,
        false => State::CannotSign,
    };
    (state, newest.key_expires.map(|after| key.created + after))
}

/// A key that signs says itself that it belongs to the primary key: else anybody could take another's key for his own.
fn is_bound_back(primary: &Key<'_>, key: &Key<'_>, binding: &Signature<'_>) -> bool {
    let Some(Ok(back)) = binding.embedded.map(Signature::read) else { return false };
    let mut hash = back.hasher();
    primary.feed(&mut hash);
    key.feed(&mut hash);
    back.kind == kind::PRIMARY_KEY_BINDING && !back.is_weak() && holds(&back, &key.public, hash)
}

/// The signature, where it is by this key; others' signatures on a key say nothing here.
fn by<'a>(id: &[u8; 8], packet: &Packet<'a>) -> Option<Signature<'a>> {
    Signature::read(packet.body).ok().filter(|signature| signature.issuer.is_none_or(|issuer| issuer == *id))
}

fn holds(signature: &Signature<'_>, key: &Option<PublicKey>, hash: aws_lc_rs::digest::Context) -> bool {
    let digest = signature.finish(hash);
    key.as_ref().is_some_and(|key| signature.is_by(key, &digest).unwrap_or(false))
}
