//! Where seeds come from.

use std::path::{Path, PathBuf};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Datagrams of real kernels, by hexadecimal line.
pub(super) fn netlink() -> Vec<Vec<u8>> {
    let folders = ["vm/capture", "vm/capture/events", "../proto/tests/captured"].map(folder);
    let files = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten();
    let mut paths: Vec<PathBuf> =
        files.map(|entry| entry.unwrap().path()).filter(|path| path.extension() == Some("hex".as_ref())).collect();
    paths.sort();
    let texts: Vec<String> = paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    texts.iter().flat_map(|text| text.lines()).map(hex).filter(|bytes| !bytes.is_empty()).collect()
}

fn hex(line: &str) -> Vec<u8> {
    let digits: Vec<u8> = line.split('#').next().unwrap_or_default().bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// The files of a folder, whole.
pub(super) fn files(name: &str) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// `corpus/NAME.txt`, a seed a line, with the escapes of a Rust byte string; and lines for all who have no file.
pub(super) fn corpus(name: &str) -> Vec<Vec<u8>> {
    let read = |name: &str| std::fs::read_to_string(folder("fuzz/corpus").join(name).with_extension("txt"));
    let text = read(name).or_else(|_| read("any")).unwrap();
    text.lines().filter(|line| !line.starts_with('#')).map(unescaped).collect()
}

fn unescaped(line: &str) -> Vec<u8> {
    let mut rest = line.bytes();
    let mut out = Vec::new();
    while let Some(byte) = rest.next() {
        out.push(match byte {
            b'\\' => match rest.next().unwrap() {
                b'r' => b'\r',
                b'n' => b'\n',
                b't' => b'\t',
                b'x' => {
                    let digits = [rest.next().unwrap(), rest.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                other => other,
            },
            byte => byte,
        });
    }
    out
}
