//! Where the machine's files are: `/`, a host mounted into a container, or a
//! fixture tree.

use std::fs;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::Fact;

const PROC: &str = "proc";
/// No file that we read comes near this; a larger one is not what it seems.
const MAX_BYTES: u64 = 4 << 20;
/// What the first read asks for. Some devices (rshim's `misc`) give everything in answer to one
/// read, as much of it as that asks for, and then the end.
const FIRST_READ: usize = 8 << 10;
/// The kernel shows no more than a page in one attribute.
const MAX_LINE: usize = 4096;
/// More names than any folder has that we list.
const MAX_NAMES: usize = 16_384;
/// As many symbolic links as the kernel itself would follow.
const MAX_LINKS: usize = 40;

/// The folder that stands for `/`, and the one that stands for `/proc`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    files: PathBuf,
    proc: PathBuf,
}

impl Root {
    /// Reads under `path`; `Root::new("/")` is this machine.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let files = path.into();
        let proc = files.join(PROC);
        Self { files, proc }
    }

    /// The machine that this process runs on, whose files are mounted at `path`. Its `/proc` need
    /// not be: what is read there, the kernel tells every process alike.
    pub fn mounted_at(path: impl Into<PathBuf>) -> Self {
        Self {
            files: path.into(),
            proc: Path::new("/").join(PROC),
        }
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.files
    }

    /// The text of a file given by its absolute path inside the root.
    ///
    /// A file that is not there is [`Fact::NotOffered`]; any other failure is
    /// [`Fact::NotRead`] with the path and the reason.
    pub fn text(&self, path: &str) -> Fact<String> {
        self.bytes(path)
            .and_then(|bytes| match String::from_utf8(bytes) {
                Ok(text) => Fact::Known(text),
                Err(_) => Fact::NotRead(format!("{path}: not UTF-8 text")),
            })
    }

    /// Like [`Root::text`], for files that are not text.
    pub fn bytes(&self, path: &str) -> Fact<Vec<u8>> {
        fact_of(path, self.read(path))
    }

    /// The names in a folder, in order; names that are not UTF-8 are left out, as the kernel
    /// makes none. A folder that is not there is [`Fact::NotOffered`].
    pub(crate) fn names(&self, path: &str) -> Fact<Vec<String>> {
        let read = || {
            let mut names = Vec::new();
            for entry in fs::read_dir(self.resolve(path)?)? {
                if names.len() == MAX_NAMES {
                    return Err(io::Error::other(format!("more than {MAX_NAMES} names")));
                }
                names.extend(entry?.file_name().into_string().ok());
            }
            names.sort_unstable();
            Ok(names)
        };
        fact_of(path, read())
    }

    /// Where `path` leads inside the root once every link is followed.
    pub(crate) fn followed(&self, path: &str) -> Fact<String> {
        let follow = || {
            let done = self.resolve(path)?;
            fs::symlink_metadata(&done)?;
            match done.strip_prefix(&self.files).ok().and_then(Path::to_str) {
                Some(inside) => Ok(format!("/{inside}")),
                None => Err(io::Error::other("not UTF-8")),
            }
        };
        fact_of(path, follow())
    }

    /// The last name of where `path` leads: in sysfs the driver, slot or device it links to.
    pub(crate) fn link_name(&self, path: &str) -> Fact<String> {
        self.followed(path).and_then(|target| {
            target.rsplit('/').next().map_or_else(
                || Fact::NotRead(format!("{path}: leads nowhere")),
                |name| Fact::Known(name.to_owned()),
            )
        })
    }

    /// A number in decimal, or in hexadecimal after `0x`.
    pub(crate) fn number<T: TryFrom<i128>>(&self, path: &str) -> Fact<T> {
        self.line(path).and_then(|text| {
            let number = match text.strip_prefix("0x") {
                Some(digits) => i128::from_str_radix(digits, 16).ok(),
                None => text.parse().ok(),
            };
            number
                .and_then(|number| T::try_from(number).ok())
                .map_or_else(
                    || Fact::NotRead(format!("{path}: not the number expected")),
                    Fact::Known,
                )
        })
    }

    /// Like [`Root::text`], trimmed, never empty and no longer than a page:
    /// anything else is [`Fact::NotRead`].
    pub(crate) fn line(&self, path: &str) -> Fact<String> {
        self.text(path).and_then(|text| {
            let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
            if text.is_empty() {
                Fact::NotRead(format!("{path}: empty"))
            } else if text.len() > MAX_LINE {
                Fact::NotRead(format!("{path}: longer than {MAX_LINE} bytes"))
            } else {
                Fact::Known(text.to_owned())
            }
        })
    }

    /// Whether something is at `path`; `Err` when that cannot be told.
    pub(crate) fn exists(&self, path: &str) -> io::Result<bool> {
        match self.resolve(path).and_then(fs::metadata) {
            Ok(_) => Ok(true),
            Err(error) if is_absent(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        // A pipe left where a file should be must not stop us for ever.
        let file = fs::OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(self.resolve(path)?)?;
        let mut bytes = Vec::with_capacity(FIRST_READ);
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(io::Error::new(
                ErrorKind::FileTooLarge,
                format!("larger than {MAX_BYTES} bytes"),
            ));
        }
        Ok(bytes)
    }

    /// Follows symbolic links by hand, because an absolute one (such as
    /// `/etc/os-release` on some systems) means the injected root and would
    /// otherwise answer with the files of the agent's own container.
    fn resolve(&self, path: &str) -> io::Result<PathBuf> {
        let mut todo: Vec<PathBuf> = vec![PathBuf::from(path)];
        let mut done = self.files.clone();
        let mut depth = 0_usize;
        let mut links = 0_usize;
        while let Some(next) = todo.pop() {
            let mut parts = next.components();
            let Some(part) = parts.next() else { continue };
            let rest = parts.as_path();
            if !rest.as_os_str().is_empty() {
                todo.push(rest.to_path_buf());
            }
            match part {
                Component::Prefix(_) | Component::CurDir => {}
                Component::RootDir => {
                    done.clone_from(&self.files);
                    depth = 0;
                }
                Component::ParentDir => {
                    depth = self.climb(&mut done, depth);
                }
                Component::Normal(name) => {
                    if depth == 0 && name == PROC {
                        done.clone_from(&self.proc);
                    } else {
                        done.push(name);
                    }
                    depth += 1;
                    if fs::symlink_metadata(&done)?.is_symlink() {
                        links += 1;
                        if links > MAX_LINKS {
                            return Err(io::Error::other("too many symbolic links"));
                        }
                        todo.push(fs::read_link(&done)?);
                        depth = self.climb(&mut done, depth);
                    }
                }
            }
        }
        Ok(done)
    }

    /// One folder up, and never above the root; returns how deep that is.
    fn climb(&self, done: &mut PathBuf, depth: usize) -> usize {
        match depth {
            0 => 0,
            // `/proc` may lie elsewhere.
            1 => {
                done.clone_from(&self.files);
                0
            }
            deep => {
                done.pop();
                deep - 1
            }
        }
    }
}

fn fact_of<T>(path: &str, read: io::Result<T>) -> Fact<T> {
    match read {
        Ok(value) => Fact::Known(value),
        // What drivers answer for an attribute that they do not have.
        Err(error)
            if is_absent(&error)
                || error.kind() == ErrorKind::Unsupported
                || error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) =>
        {
            Fact::NotOffered
        }
        Err(error) => Fact::NotRead(format!("{path}: {error}")),
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn tree() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        (dir, root)
    }

    #[test]
    fn absolute_links_stay_inside() {
        let (dir, root) = tree();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("a/b/file"), "inside").unwrap();
        symlink("/a/b/file", dir.path().join("absolute")).unwrap();
        symlink("../../../../a/b/file", dir.path().join("climbing")).unwrap();
        symlink("/a", dir.path().join("folder")).unwrap();
        for path in [
            "/absolute",
            "/climbing",
            "/folder/b/file",
            "/folder/../folder/b/file",
        ] {
            assert_eq!(root.text(path), Fact::Known("inside".into()), "{path}");
        }
    }

    #[test]
    fn a_mounted_machine_is_asked_for_its_processes_where_it_runs() {
        let (dir, _) = tree();
        let root = Root::mounted_at(dir.path());
        fs::create_dir_all(dir.path().join("sys/a")).unwrap();
        fs::write(dir.path().join("sys/a/file"), "mounted").unwrap();
        symlink("/proc/uptime", dir.path().join("link")).unwrap();
        assert!(root.line("/proc/uptime").is_known());
        assert!(root.line("/link").is_known());
        for path in [
            "/sys/a/file",
            "/proc/../sys/a/file",
            "/proc/sys/../../sys/a/file",
        ] {
            assert_eq!(root.text(path), Fact::Known("mounted".into()), "{path}");
        }
        assert_eq!(Root::new(dir.path()).line("/proc/uptime"), Fact::NotOffered);
    }

    #[test]
    fn a_link_loop_is_not_read() {
        let (dir, root) = tree();
        symlink("/loop", dir.path().join("loop")).unwrap();
        assert!(matches!(root.text("/loop"), Fact::NotRead(why) if why.contains("too many")));
    }

    #[test]
    fn absent_strange_and_empty_differ() {
        let (dir, root) = tree();
        fs::write(dir.path().join("bytes"), [0xff, 0xfe]).unwrap();
        fs::write(dir.path().join("empty"), "\n").unwrap();
        fs::create_dir(dir.path().join("folder")).unwrap();
        assert_eq!(root.text("/nothing"), Fact::NotOffered);
        assert_eq!(root.text("/bytes/below"), Fact::NotOffered);
        assert!(matches!(root.text("/bytes"), Fact::NotRead(why) if why.contains("UTF-8")));
        assert!(matches!(root.text("/folder"), Fact::NotRead(_)));
        assert!(matches!(root.line("/empty"), Fact::NotRead(why) if why.contains("empty")));
    }

    #[test]
    fn folders_links_and_numbers() {
        let (dir, root) = tree();
        fs::create_dir_all(dir.path().join("devices/b")).unwrap();
        fs::create_dir(dir.path().join("devices/a")).unwrap();
        symlink("/devices/b", dir.path().join("link")).unwrap();
        for (name, text) in [("dec", "-1\n"), ("hex", "0x15b3\n"), ("big", "0x1ffff")] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let names = |path| root.names(path);
        assert_eq!(names("/devices"), Fact::Known(vec!["a".into(), "b".into()]));
        assert_eq!(names("/nothing"), Fact::NotOffered);
        assert_eq!(root.followed("/link"), Fact::Known("/devices/b".into()));
        assert_eq!(root.followed("/link/nothing"), Fact::NotOffered);
        assert_eq!(root.link_name("/link"), Fact::Known("b".into()));
        assert_eq!(root.number::<i32>("/dec"), Fact::Known(-1));
        assert_eq!(root.number::<u16>("/hex"), Fact::Known(0x15b3));
        assert!(matches!(root.number::<u16>("/big"), Fact::NotRead(why) if why.contains("/big")));
    }

    #[test]
    fn a_pipe_does_not_stop_the_reading() {
        let (dir, root) = tree();
        let made = std::process::Command::new("mkfifo")
            .arg(dir.path().join("pipe"))
            .status();
        if made.is_ok_and(|status| status.success()) {
            assert!(matches!(root.line("/pipe"), Fact::NotRead(_)));
        }
    }

    #[test]
    fn an_endless_file_is_refused() {
        let (dir, root) = tree();
        let file = fs::File::create(dir.path().join("huge")).unwrap();
        file.set_len(MAX_BYTES + 1).unwrap();
        assert!(matches!(root.text("/huge"), Fact::NotRead(why) if why.contains("larger")));
    }
}
