//! The kernel's classic BPF machine (`linux/filter.h`), as far as our programs need it: in tests, programs are run by it.

/// An instruction: code, jumps if true and if not, number.
pub(crate) type Op = (u16, u8, u8, u32);

/// What a program reads: so many bytes from there. `a` and `x` are the registers, which the kernel's extensions look at. `None`: beyond the
/// end, which ends the program with 0.
pub(crate) struct Load {
    pub(crate) at: u32,
    pub(crate) bytes: u8,
    pub(crate) a: u32,
    pub(crate) x: u32,
}

/// What the program returns.
pub(crate) fn run(program: &[Op], load: impl Fn(&Load) -> Option<u32>) -> u32 {
    let (mut at, mut a, mut x, mut memory) = (0, 0_u32, 0_u32, [None; 16]);
    loop {
        let (code, jt, jf, k) = program[at];
        at += 1;
        let bytes = match code & 0x18 {
            0x08 => 2,
            0x10 => 1,
            _ => 4,
        };
        let taken = match code {
            0x00 => {
                a = k;
                continue;
            }
            0x01 => {
                x = k;
                continue;
            }
            0x02 => {
                memory[k as usize] = Some(a);
                continue;
            }
            0x60 => {
                a = memory[k as usize].expect("a word is written before it is read");
                continue;
            }
            0x61 => {
                x = memory[k as usize].expect("a word is written before it is read");
                continue;
            }
            0x20 | 0x28 | 0x30 | 0x40 | 0x48 | 0x50 => {
                let from = if code & 0x40 == 0 { k } else { x.wrapping_add(k) };
                let Some(read) = load(&Load { at: from, bytes, a, x }) else { return 0 };
                a = read;
                continue;
            }
            0x54 => {
                a &= k;
                continue;
            }
            0x05 => {
                at += k as usize;
                continue;
            }
            0x06 => return k,
            0x15 => a == k,
            0x25 => a > k,
            0x35 => a >= k,
            0x45 => a & k != 0,
            code => panic!("unknown instruction {code:#x}"),
        };
        at += usize::from(if taken { jt } else { jf });
    }
}
