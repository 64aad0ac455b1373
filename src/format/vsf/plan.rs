//! A file whose every byte is settled, but for those of its seals: hashed, signed, and handed out in order.

use std::io;

use ed25519_dalek::{Signer, SigningKey};

use super::encode::{Piece, Pieces};

/// A field that holds an Ed25519 signature, up to the signature.
pub fn signature_field() -> Vec<u8> {
    b"(d3\x09signature:ge3\x3F".to_vec()
}

/// A file whose every byte is known but those of its seals.
pub struct Plan {
    /// The header, with zeros where its hash will be.
    pub header: Vec<u8>,
    /// Where its hash will be.
    pub hash_at: usize,
    /// The sections in their order.
    pub bodies: Vec<Pieces>,
    /// What comes behind them.
    pub trailer: Vec<u8>,
}

/// What the file says about itself beside its sections.
#[derive(Debug, Clone, Default)]
pub enum Seal {
    /// Nothing.
    #[default]
    None,
    /// Its hash.
    Hash,
    /// Who has signed it.
    Signature(Box<SigningKey>),
}

impl Plan {
    /// Computes the seals: of sections first, then of all. A place that a seal fills is zero in what it seals.
    pub fn seal(&mut self, seal: &Seal, tell: &mut dyn FnMut(usize)) -> io::Result<()> {
        match seal {
            Seal::None => {}
            Seal::Hash => {
                let hash = self.hash(tell)?;
                self.header[self.hash_at..self.hash_at + 32].copy_from_slice(hash.as_bytes());
            }
            Seal::Signature(key) => {
                for body in &mut self.bodies {
                    sign_body(body, key, tell)?;
                }
                self.trailer = [&signature_field()[..], &[0; 64], b")"].concat();
                let signature = key.sign(self.hash(tell)?.as_bytes());
                let end = self.trailer.len() - 1;
                self.trailer[end - 64..end].copy_from_slice(&signature.to_bytes());
            }
        }
        Ok(())
    }

    fn hash(&self, tell: &mut dyn FnMut(usize)) -> io::Result<blake3::Hash> {
        let mut hasher = blake3::Hasher::new();
        self.each(&mut |bytes| {
            tell(bytes.len());
            hasher.update(bytes);
            Ok(())
        })?;
        Ok(hasher.finalize())
    }

    /// Hands out all bytes in order; how many they were.
    pub fn each(&self, sink: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<u64> {
        let mut total = self.header.len() as u64;
        sink(&self.header)?;
        for body in &self.bodies {
            total += each_piece(body, sink)?;
        }
        sink(&self.trailer)?;
        Ok(total + self.trailer.len() as u64)
    }
}

fn sign_body(body: &mut Pieces, key: &SigningKey, tell: &mut dyn FnMut(usize)) -> io::Result<()> {
    let Some(at) = body.0.iter().position(|piece| matches!(piece, Piece::Signature)) else { return Ok(()) };
    let mut hasher = blake3::Hasher::new();
    each_piece(body, &mut |bytes| {
        tell(bytes.len());
        hasher.update(bytes);
        Ok(())
    })?;
    body.0[at] = Piece::Bytes(key.sign(hasher.finalize().as_bytes()).to_bytes().to_vec());
    Ok(())
}

fn each_piece(body: &Pieces, sink: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<u64> {
    const STEP: u64 = 1 << 20;
    let mut total = 0;
    for piece in &body.0 {
        match piece {
            Piece::Bytes(bytes) => {
                sink(bytes)?;
                total += bytes.len() as u64;
            }
            Piece::From(input, range) => {
                let mut buf = vec![0; STEP.min(range.end - range.start) as usize];
                let mut at = range.start;
                while at < range.end {
                    let n = STEP.min(range.end - at) as usize;
                    input.read_at(at, &mut buf[..n])?;
                    sink(&buf[..n])?;
                    at += n as u64;
                }
                total += range.end - range.start;
            }
            Piece::Signature => {
                sink(&[0; 64])?;
                total += 64;
            }
            Piece::Place(_) => unreachable!("places are filled in when they are settled"),
        }
    }
    Ok(total)
}
