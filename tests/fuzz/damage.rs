//! How seeds are damaged.

/// Bytes and numbers on which readers stumble: ends of ranges, signs, what separates and ends.
const NASTY: [&[u8]; 16] = [
    &[0],
    &[1],
    &[0x7f],
    &[0x80],
    &[0xff],
    &[0xff, 0xff],
    &[0, 0],
    &[0x7f, 0xff, 0xff, 0xff],
    &[0xff, 0xff, 0xff, 0xff],
    b"\r\n",
    b"\n",
    b" ",
    b"(",
    b",,,,,",
    b"99999999999999999999",
    b"::ffff:255.255.255.255",
];
/// Longest input, bytes: more than a packet has.
const LONGEST: usize = 9000;

/// A source of damage that does the same every time.
pub(crate) struct Damage {
    state: u64,
}

impl Damage {
    pub(crate) fn new(name: &str) -> Self {
        // FNV-1a: every target has its own sequence.
        Self {
            state: name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)),
        }
    }

    /// Xorshift64*.
    fn next(&mut self) -> usize {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        usize::try_from(self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap()
    }

    fn below(&mut self, end: usize) -> usize {
        self.next() % end.max(1)
    }

    /// Each seed as it is first, then damaged ones, a few damages to each.
    pub(crate) fn damaged(&mut self, seeds: &[Vec<u8>], round: u64) -> Vec<u8> {
        if let Some(seed) = usize::try_from(round).ok().and_then(|round| seeds.get(round)) {
            return seed.clone();
        }
        let mut bytes = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(6) {
            self.damage(&mut bytes, seeds);
        }
        bytes.truncate(LONGEST);
        bytes
    }

    fn damage(&mut self, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let at = self.below(bytes.len() + 1);
        let end = (at + 1 + self.below(16)).min(bytes.len());
        match self.below(9) {
            0 => bytes.truncate(at),
            1 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            2 if at < bytes.len() => bytes[at] = u8::try_from(self.below(256)).unwrap(),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            5 => {
                let nasty = NASTY[self.below(NASTY.len())];
                bytes.splice(at..at, nasty.iter().copied());
            }
            6 => {
                let nasty = NASTY[self.below(NASTY.len())];
                let end = (at + nasty.len()).min(bytes.len());
                bytes.splice(at..end, nasty.iter().copied());
            }
            7 => {
                let other = &seeds[self.below(seeds.len())];
                let from = self.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            _ => {
                let times = 1 + self.below(40);
                let again = bytes[at..end].repeat(times);
                bytes.splice(at..at, again);
            }
        }
    }
}
