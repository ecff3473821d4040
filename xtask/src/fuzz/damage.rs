//! Programs with damage where the kernel looks first.

use fastrand::Rng;

/// Bytes of the file header, and of one program header.
const HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;

/// `program`, a whole ELF file, with one to four fields of its headers damaged, or its end cut off.
pub fn damaged(program: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = program.to_vec();
    let count = program.get(56..58).map_or(0, |count| usize::from(u16::from_le_bytes([count[0], count[1]])));
    let headers = (HEADER + count * PROGRAM_HEADER).min(bytes.len());
    for _ in 0..rng.usize(1..=4) {
        let width = [1, 2, 4, 8][rng.usize(..4)];
        // The magic number alone stays.
        let at = (rng.usize(4..headers - 8) / width * width).max(4);
        let field = &mut bytes[at..at + width];
        let mut value = [0; 8];
        value[..width].copy_from_slice(field);
        let value = match rng.u8(..6) {
            0 => u64::from_le_bytes(value).wrapping_add(rng.u64(..3).wrapping_sub(1) << rng.u8(..13)),
            1 => u64::from_le_bytes(value) ^ 1 << rng.u8(..64),
            2 => u64::MAX >> rng.u8(..64),
            3 => 1 << rng.u8(..64),
            4 => rng.u64(..256),
            _ => rng.u64(..),
        };
        field.copy_from_slice(&value.to_le_bytes()[..width]);
    }
    if rng.u8(..8) == 0 {
        bytes.truncate(rng.usize(..bytes.len()));
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_headers_are_damaged() {
        let mut program = vec![7; 1000];
        program[56..58].copy_from_slice(&3u16.to_le_bytes());
        let mut rng = Rng::with_seed(1);
        for _ in 0..1000 {
            let bytes = damaged(&program, &mut rng);
            let headers = HEADER + 3 * PROGRAM_HEADER;
            assert_eq!(bytes.get(headers..).unwrap_or_default(), program.get(headers..bytes.len()).unwrap_or_default());
            assert!(bytes.len() <= 1000 && bytes.iter().take(4).all(|byte| *byte == 7));
        }
    }
}
