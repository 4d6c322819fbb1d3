//! Where the machine's files are: `/`, a host mounted into a container, or a
//! fixture tree.

use std::fs;
use std::io::{self, ErrorKind, Read};
use std::path::{Component, Path, PathBuf};

use crate::Fact;

/// No file that we read comes near this; a larger one is not what it seems.
const MAX_BYTES: u64 = 4 << 20;
/// As many symbolic links as the kernel itself would follow.
const MAX_LINKS: usize = 40;

/// The folder that stands for `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root(PathBuf);

impl Root {
    /// Reads under `path`; `Root::new("/")` is this machine.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The text of a file given by its absolute path inside the root.
    ///
    /// A file that is not there is [`Fact::NotOffered`]; any other failure is
    /// [`Fact::NotRead`] with the path and the reason.
    pub fn text(&self, path: &str) -> Fact<String> {
        match self.read(path) {
            Ok(bytes) => match String::from_utf8(bytes) {
                Ok(text) => Fact::Known(text),
                Err(_) => Fact::NotRead(format!("{path}: not UTF-8 text")),
            },
            Err(error) if is_absent(&error) => Fact::NotOffered,
            Err(error) => Fact::NotRead(format!("{path}: {error}")),
        }
    }

    /// Like [`Root::text`], trimmed and never empty: an empty file is
    /// [`Fact::NotRead`].
    pub(crate) fn line(&self, path: &str) -> Fact<String> {
        self.text(path).and_then(|text| {
            let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
            if text.is_empty() {
                Fact::NotRead(format!("{path}: empty"))
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
        let file = fs::File::open(self.resolve(path)?)?;
        let mut bytes = Vec::new();
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
        let mut done = self.0.clone();
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
                    done.clone_from(&self.0);
                    depth = 0;
                }
                Component::ParentDir => {
                    if depth > 0 {
                        done.pop();
                        depth -= 1;
                    }
                }
                Component::Normal(name) => {
                    done.push(name);
                    depth += 1;
                    if fs::symlink_metadata(&done)?.is_symlink() {
                        links += 1;
                        if links > MAX_LINKS {
                            return Err(io::Error::other("too many symbolic links"));
                        }
                        todo.push(fs::read_link(&done)?);
                        done.pop();
                        depth -= 1;
                    }
                }
            }
        }
        Ok(done)
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
    fn an_endless_file_is_refused() {
        let (dir, root) = tree();
        let file = fs::File::create(dir.path().join("huge")).unwrap();
        file.set_len(MAX_BYTES + 1).unwrap();
        assert!(matches!(root.text("/huge"), Fact::NotRead(why) if why.contains("larger")));
    }
}
