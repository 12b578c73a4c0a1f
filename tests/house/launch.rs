//! Starting the process of a house, and looking whether it lives.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;

use super::{House, Server, lock};
use crate::process::wait_for_child;
use crate::wire::PATIENCE;

impl House {
    /// Starts the server and waits for its line on standard output.
    #[track_caller]
    pub fn launch(&self) {
        if let Err(status) = self.try_launch() {
            panic!(
                "it ended ({status:?}) before `listening on …`:\n{}",
                self.log()
            );
        }
    }

    /// Starts the server and waits for its line on standard output; the way it ended if it ends before that. Doing
    /// neither ends the test.
    #[track_caller]
    pub fn try_launch(&self) -> Result<(), ExitStatus> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.path("log.txt"));
        let log = log.expect("the house's folder is writable");
        let mut command = self.serve_command();
        command.stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().expect("the binary starts");
        let output = child.stdout.take().expect("standard output is piped");
        let (tell, told) = mpsc::channel();
        // Reads to the end, so that the server never finds its standard output closed.
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Some(url) = line.strip_prefix("listening on http://") {
                    let _ = tell.send(url.trim_end_matches('/').to_owned());
                }
            }
        });
        match told.recv_timeout(PATIENCE) {
            Ok(url) => {
                let address = url.parse().expect("the line ends in HOST:PORT");
                *lock(&self.server) = Some(Server { child, address });
                Ok(())
            }
            Err(RecvTimeoutError::Disconnected) => match wait_for_child(&mut child, PATIENCE) {
                Some(status) => Err(status),
                None => self.hangs(&mut child),
            },
            Err(RecvTimeoutError::Timeout) => self.hangs(&mut child),
        }
    }

    #[track_caller]
    fn hangs(&self, child: &mut Child) -> ! {
        let _ = child.kill();
        let _ = child.wait();
        panic!("it neither serves nor ends:\n{}", self.log());
    }

    /// Whether the process lives.
    #[track_caller]
    pub fn is_up(&self) -> bool {
        let mut server = lock(&self.server);
        let server = server.as_mut().expect("the server was started");
        matches!(server.child.try_wait(), Ok(None))
    }
}
