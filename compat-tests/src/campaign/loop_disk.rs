//! A file system in a file, mounted through a loop device, whose power can be cut. Needs root, `losetup` and `mkfs`.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

/// `EXT4_IOC_SHUTDOWN` and `XFS_IOC_GOINGDOWN` are one number; flag 2 is NOLOGFLUSH: what is in memory is lost, as in a power cut.
const CUT: &str = "import fcntl, os, struct, sys
disk = os.open(sys.argv[1], os.O_RDONLY)
print('ready', flush=True)
sys.stdin.read(1)
fcntl.ioctl(disk, 0x8004587D, struct.pack('I', 2))";

/// A kind of file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// ext4.
    Ext4,
    /// XFS, with reflinks.
    Xfs,
}

/// A mounted file system in an image file; dropping it unmounts it.
pub struct LoopDisk {
    kind: FileSystem,
    image: PathBuf,
    mount_point: PathBuf,
    mounted: bool,
}

impl LoopDisk {
    /// Why there can be none here, if so.
    pub fn missing(kind: FileSystem) -> Option<String> {
        let attempt = || -> Result<()> {
            let directory = tempfile::tempdir()?;
            Self::create(kind, directory.path(), "probe", 320)?.cut().map(drop)
        };
        attempt().err().map(|error| format!("{error:#}"))
    }

    /// Makes an image `directory/name.img` of so many MiB and mounts it at `directory/name`.
    pub fn create(kind: FileSystem, directory: &Path, name: &str, mebibytes: u64) -> Result<Self> {
        let image = directory.join(format!("{name}.img"));
        std::fs::File::create(&image)?.set_len(mebibytes << 20)?;
        match kind {
            FileSystem::Ext4 => run("mkfs.ext4", &["-q", "-F", text(&image)?])?,
            FileSystem::Xfs => run("mkfs.xfs", &["-q", "-f", text(&image)?])?,
        }
        Self::of_image(kind, &image, &directory.join(name))
    }

    /// Mounts an image that exists; this takes it over.
    pub fn of_image(kind: FileSystem, image: &Path, mount_point: &Path) -> Result<Self> {
        std::fs::create_dir_all(mount_point)?;
        let (image, mount_point) = (image.to_owned(), mount_point.to_owned());
        let mut disk = Self { kind, image, mount_point, mounted: false };
        disk.mount()?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.mount_point
    }

    /// Mounts it again.
    pub fn mount(&mut self) -> Result<()> {
        let options = match self.kind {
            FileSystem::Ext4 => "loop",
            // A copy has the same id as the original.
            FileSystem::Xfs => "loop,nouuid",
        };
        run("mount", &["-o", options, text(&self.image)?, text(&self.mount_point)?])?;
        self.mounted = true;
        Ok(())
    }

    /// Unmounts it; whoever holds a file open there must be gone.
    pub fn unmount(&mut self) -> Result<()> {
        run("umount", &[text(&self.mount_point)?])?;
        self.mounted = false;
        Ok(())
    }

    /// What is not on the disk now never will be; every write fails from now on, until it is mounted again. Returns a
    /// moment just before.
    pub fn cut(&self) -> Result<Instant> {
        let mut command = Command::new("python3");
        command.args(["-c", CUT, text(&self.mount_point)?]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("python3 does not start")?;
        let (mut trigger, mut output) = (child.stdin.take().context("piped")?, child.stdout.take().context("piped")?);
        output.read_exact(&mut [0; 6])?;
        let moment = Instant::now();
        trigger.write_all(b"!")?;
        let status = child.wait()?;
        ensure!(status.success(), "the power of {} could not be cut: {status}", self.mount_point.display());
        Ok(moment)
    }

    /// The disk as it is at this moment, as an image of its own; the image must lie on a file system with reflinks.
    pub fn copy(&self, to: &Path) -> Result<()> {
        run("cp", &["--reflink=always", text(&self.image)?, text(to)?])
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        if self.mounted && self.unmount().is_err() {
            // Somebody holds a file: gone from the tree now, gone for good when the file is closed.
            let _ = Command::new("umount").arg("--lazy").arg(&self.mount_point).status();
        }
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is not UTF-8")
}

fn run(command: &str, arguments: &[&str]) -> Result<()> {
    // Root's tools may not be on the path.
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new("env").arg(format!("PATH={path}")).arg(command).args(arguments).output();
    let output = output.with_context(|| format!("{command} does not start"))?;
    if !output.status.success() {
        bail!("{command} {arguments:?}: {} {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
