//! Where connections come in: a TCP port or a unix socket.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use proxy_protocol::Policy;
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs, UnixListener, UnixStream};

/// A socket that is listened on, and whether its connections start with a PROXY header.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    pub(crate) policy: Policy,
    _file: Option<SocketFile>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Removed when it is no longer listened on.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // If it is gone already, so much the better.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A connection just accepted.
pub(crate) enum Accepted {
    Tcp(TcpStream, IpAddr),
    Unix(UnixStream),
}

impl Listener {
    /// Listens on a TCP port.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn tcp(address: impl ToSocketAddrs, policy: Policy) -> io::Result<Self> {
        Ok(Self { socket: Socket::Tcp(TcpListener::bind(address).await?), policy, _file: None })
    }

    /// Listens on a unix socket that its owner and group may connect to (mode 0660). A socket file that nobody
    /// listens on any more is replaced.
    ///
    /// # Errors
    /// The path cannot be listened on, or somebody listens on it.
    pub fn unix(path: impl AsRef<Path>, policy: Policy) -> io::Result<Self> {
        let path = path.as_ref();
        let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
        if is_socket && std::os::unix::net::UnixStream::connect(path).is_err() {
            std::fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        let file = SocketFile(path.to_owned());
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
        Ok(Self { socket: Socket::Unix(listener), policy, _file: Some(file) })
    }

    /// The TCP address it listens on; `None` for a unix socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Tcp(listener) => listener.local_addr().ok(),
            Socket::Unix(_) => None,
        }
    }

    pub(crate) async fn accept(&self) -> io::Result<Accepted> {
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                // Replies are written whole: waiting for more of them would only cost time.
                stream.set_nodelay(true)?;
                Ok(Accepted::Tcp(stream, address.ip()))
            }
            Socket::Unix(listener) => Ok(Accepted::Unix(listener.accept().await?.0)),
        }
    }
}

impl Accepted {
    /// Says one thing and closes. Nothing was sent on the connection before, so it takes that without waiting.
    pub(crate) fn dismiss(self, words: &[u8]) {
        // A client that cannot hear it sees the close.
        let _ = match self {
            Self::Tcp(stream, _) => stream.try_write(words),
            Self::Unix(stream) => stream.try_write(words),
        };
    }
}
