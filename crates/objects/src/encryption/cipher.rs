//! The three ciphers: kubernetes/apiserver pkg/storage/value/encrypt/{aes/aes.go,secretbox/secretbox.go} @ v0.36.2.
//! The random start is in front of the ciphertext. `None` is all that is said of what cannot be decrypted.

use aes::cipher::block_padding::Pkcs7;
use aes::cipher::consts::U12;
use aes::cipher::{BlockCipherDecrypt, BlockModeDecrypt, BlockSizeUser, KeyInit, KeyIvInit};
use aes::{Aes128, Aes192, Aes256};
use aes_gcm::aead::{Aead as _, Payload};
use aes_gcm::{AesGcm, Nonce};

/// AES in CBC mode with the padding of PKCS#7, and nothing that vouches for it.
pub(super) fn aes_cbc(key: &[u8], ciphertext: &[u8]) -> Option<Vec<u8>> {
    match key.len() {
        16 => cbc::<Aes128>(key, ciphertext),
        24 => cbc::<Aes192>(key, ciphertext),
        _ => cbc::<Aes256>(key, ciphertext),
    }
}

fn cbc<C: BlockCipherDecrypt + KeyInit + BlockSizeUser>(key: &[u8], ciphertext: &[u8]) -> Option<Vec<u8>>
where
    cbc::Decryptor<C>: KeyIvInit + BlockModeDecrypt,
{
    let (start, ciphertext) = ciphertext.split_at_checked(16)?;
    cbc::Decryptor::<C>::new_from_slices(key, start).ok()?.decrypt_padded_vec::<Pkcs7>(ciphertext).ok()
}

/// AES in GCM mode with a nonce of 12 bytes. It vouches for the key in etcd.
pub(super) fn aes_gcm(key: &[u8], ciphertext: &[u8], etcd_key: &[u8]) -> Option<Vec<u8>> {
    let (nonce, msg) = ciphertext.split_at_checked(12)?;
    let nonce = Nonce::<U12>::try_from(nonce).ok()?;
    let payload = Payload { msg, aad: etcd_key };
    match key.len() {
        16 => AesGcm::<Aes128, U12>::new_from_slice(key).ok()?.decrypt(&nonce, payload).ok(),
        24 => AesGcm::<Aes192, U12>::new_from_slice(key).ok()?.decrypt(&nonce, payload).ok(),
        _ => AesGcm::<Aes256, U12>::new_from_slice(key).ok()?.decrypt(&nonce, payload).ok(),
    }
}

/// XSalsa20 and Poly1305 with a nonce of 24 bytes.
pub(super) fn secret_box(key: &[u8], ciphertext: &[u8]) -> Option<Vec<u8>> {
    use crypto_secretbox::aead::{Aead as _, KeyInit as _};

    let (nonce, ciphertext) = ciphertext.split_at_checked(24)?;
    let nonce = crypto_secretbox::Nonce::from_slice(nonce);
    crypto_secretbox::XSalsa20Poly1305::new_from_slice(key).ok()?.decrypt(nonce, ciphertext).ok()
}
