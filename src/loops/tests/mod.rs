//! The pool's own test, and the engine driven without threads.

mod simulation;

use std::sync::Arc;

use crate::loops::*;

#[test]
fn what_the_leader_finds_is_shared_with_the_idle() {
    let (pool, bell) = (Arc::new(Pool::<u32>::default()), Arc::new(Bell::default()));
    let source = Arc::new(Mutex::new((0..100).collect::<Vec<u32>>()));
    let (sender, done) = crossbeam_channel::unbounded();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (pool, bell, source, sender) =
                (pool.clone(), bell.clone(), source.clone(), sender.clone());
            std::thread::spawn(move || {
                let take = |idle: usize| {
                    let mut source = locked(&source);
                    let at = source.len().saturating_sub(idle);
                    source.split_off(at)
                };
                while let Some(work) = pool.next(&bell, take, || NAP) {
                    sender.send(work).expect("the test listens");
                }
            })
        })
        .collect();
    let mut got: Vec<u32> = (0..100)
        .map(|_| done.recv().expect("all is handed out"))
        .collect();
    got.sort_unstable();
    assert_eq!(got, (0..100).collect::<Vec<u32>>());
    pool.stop(&bell);
    for thread in threads {
        thread.join().expect("the thread ends");
    }
}
