//! A service for a card VM: one executable without libraries, a few hundred bytes of machine code.
//!
//! It says one line on the console every two seconds, for as long as it runs, so that the console shows
//! when it began and when it had ended.

/// Where the program lies in memory.
const AT: u64 = 0x40_0000;
/// The header of the file, and that of its one segment.
const HEADERS: u64 = 64 + 56;
/// Seconds and nanoseconds between two lines.
const PAUSE: [u64; 2] = [2, 0];

/// Registers by their numbers in machine code.
const RAX: u8 = 0;
const RDX: u8 = 2;
const RSI: u8 = 6;
const RDI: u8 = 7;
const SYSCALL: &[u8] = b"\x0f\x05";

/// An executable for `x86_64` Linux that says this line on the console of its machine.
pub fn saying(line: &str) -> Vec<u8> {
    saying_at("/dev/console", line)
}

fn saying_at(path: &str, line: &str) -> Vec<u8> {
    let (path, text) = (format!("{path}\0"), format!("{line}\n"));
    let length = code([0; 3], text.len()).len() as u64;
    let path_at = AT + HEADERS + length;
    let text_at = path_at + path.len() as u64;
    let pause_at = text_at + text.len() as u64;
    let mut program = code([path_at, text_at, pause_at], text.len());
    program.extend_from_slice(path.as_bytes());
    program.extend_from_slice(text.as_bytes());
    for word in PAUSE {
        program.extend_from_slice(&word.to_le_bytes());
    }
    let mut file = header();
    let size = HEADERS + program.len() as u64;
    for word in [0, AT, AT, size, size, 0x1000] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    file.extend_from_slice(&program);
    file
}

/// `open`, then `write` and `nanosleep` for ever. Its length does not depend on the addresses.
fn code([path, text, pause]: [u64; 3], length: usize) -> Vec<u8> {
    let mut code = Vec::new();
    set(&mut code, RAX, 2);
    set(&mut code, RDI, path);
    // Write only.
    set(&mut code, RSI, 1);
    code.extend_from_slice(SYSCALL);
    // The descriptor goes where no system call looks: mov rbx, rax.
    code.extend_from_slice(b"\x48\x89\xc3");
    let again = code.len();
    set(&mut code, RAX, 1);
    // mov rdi, rbx
    code.extend_from_slice(b"\x48\x89\xdf");
    set(&mut code, RSI, text);
    set(&mut code, RDX, length as u64);
    code.extend_from_slice(SYSCALL);
    set(&mut code, RAX, 35);
    set(&mut code, RDI, pause);
    set(&mut code, RSI, 0);
    code.extend_from_slice(SYSCALL);
    // A short jump, of two bytes: the loop has fewer than 128.
    let back = (code.len() + 2 - again) as u8;
    code.extend_from_slice(&[0xeb, back.wrapping_neg()]);
    code
}

/// `mov register, value`
fn set(code: &mut Vec<u8>, register: u8, value: u64) {
    code.extend_from_slice(&[0x48, 0xb8 + register]);
    code.extend_from_slice(&value.to_le_bytes());
}

/// A file header of ELF, and the first words of a segment that may be read and executed.
fn header() -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    for word in [AT + HEADERS, 64, 0] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    file.extend_from_slice(b"\0\0\0\0\x40\0\x38\0\x01\0\0\0\0\0\0\0");
    file.extend_from_slice(b"\x01\0\0\0\x05\0\0\0");
    file
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn the_program_says_its_line_again_and_again() {
        let dir = tempfile::tempdir().unwrap();
        let (console, program) = (dir.path().join("console"), dir.path().join("service"));
        fs::write(&console, "").unwrap();
        fs::write(&program, saying_at(console.to_str().unwrap(), "service up")).unwrap();
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        let mut child = Command::new(&program).spawn().unwrap();
        let end = Instant::now() + Duration::from_secs(30);
        let said = || fs::read_to_string(&console).unwrap();
        while said() != "service up\nservice up\n" {
            assert!(Instant::now() < end, "{:?}", said());
            std::thread::sleep(Duration::from_millis(20));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
