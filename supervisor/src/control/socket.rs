//! `control.sock`: one JSON object per line each way, for root alone.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener as Bound;
use std::path::Path;
use std::time::Duration;

use cthelper_proto::ctl::{Reply, Request};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

use super::Governor;

/// Longest request, bytes.
const REQUEST: u64 = 4096;
/// Longest time between two requests of one connection.
const IDLE: Duration = Duration::from_secs(30);

pub(super) fn bind(path: &Path, mode: u32) -> io::Result<Bound> {
    if std::os::unix::net::UnixStream::connect(path).is_err() {
        let _ = std::fs::remove_file(path); // left over by an earlier life
    }
    let listener = Bound::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

pub(super) fn listen(bound: Bound, governor: Governor) -> io::Result<JoinHandle<()>> {
    let listener = UnixListener::from_std(bound)?;
    Ok(tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(converse(stream, governor.clone()))),
                Err(error) => {
                    tracing::warn!(%error, "control.sock");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }))
}

async fn converse(stream: UnixStream, governor: Governor) {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = tokio::time::timeout(IDLE, (&mut reader).take(REQUEST).read_until(b'\n', &mut line)).await;
        if !matches!(read, Ok(Ok(1..))) {
            return;
        }
        let reply = match serde_json::from_slice::<Request>(&line) {
            Ok(request) => governor.answer(request).await,
            Err(error) => Reply::Failed { reason: format!("not understood: {error}") },
        };
        let Ok(mut text) = serde_json::to_vec(&reply) else { return };
        text.push(b'\n');
        if writer.write_all(&text).await.is_err() {
            return;
        }
    }
}
