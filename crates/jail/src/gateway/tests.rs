use rustix::net::SocketType;

use super::*;

fn pair() -> (Gateway, OwnedFd) {
    let (ours, theirs) = wire::pair(SocketType::SEQPACKET).expect("a socket");
    (Gateway::new(ours), theirs)
}

fn greeted() -> (Gateway, OwnedFd) {
    let (mut gateway, theirs) = pair();
    greet(theirs.as_fd()).expect("sent");
    assert!(gateway.listen().expect("a greeting"));
    (gateway, theirs)
}

fn null() -> OwnedFd {
    std::fs::File::open("/dev/null").expect("/dev/null").into()
}

fn capture() -> Capture {
    Capture { tcp: null(), dns: null(), link: null() }
}

#[test]
fn one_who_has_not_greeted_is_told_nothing() {
    let (mut gateway, theirs) = pair();
    gateway.tell(ToGateway::Closed { shell: ShellId(1) }).expect("no fault of its own");
    assert!(gateway.send(|_| None).expect("nothing to send"));
    assert!(receive(theirs.as_fd()).expect("a live socket").is_none());
}

#[test]
fn what_it_is_told_comes_in_order_with_its_sockets() {
    let (mut gateway, theirs) = greeted();
    let capture = capture();
    for message in [
        ToGateway::Opened { shell: ShellId(7) },
        ToGateway::Opened { shell: ShellId(8) },
        ToGateway::Closed { shell: ShellId(7) },
    ] {
        gateway.tell(message).expect("it has greeted");
    }
    // Shell 8 ended before its turn came.
    assert!(gateway.send(|id| (id == ShellId(7)).then_some(&capture)).expect("there is room"));
    let (message, fds) = receive(theirs.as_fd()).expect("a message").expect("one");
    assert_eq!((message, fds.len()), (ToGateway::Opened { shell: ShellId(7) }, 2));
    let (message, fds) = receive(theirs.as_fd()).expect("a message").expect("one");
    assert_eq!((message, fds.len()), (ToGateway::Closed { shell: ShellId(7) }, 0));
    assert!(receive(theirs.as_fd()).expect("a live socket").is_none());
}

#[test]
fn one_that_says_anything_else_is_dropped() {
    let hello = proto::encode(&FromGateway::Hello).expect("it is short");
    for said in [&b"x"[..], &[1], &[0xff; 16], &[0; 17], &[0; 4096], &[hello.as_slice(), b"more"].concat()] {
        let (mut gateway, theirs) = pair();
        wire::send(theirs.as_fd(), said, &[]).expect("sent");
        assert!(matches!(gateway.listen(), Err(Dropped::Words)), "{said:?}");
    }
    let (mut gateway, theirs) = pair();
    wire::send(theirs.as_fd(), &hello, &[null().as_fd()]).expect("sent");
    assert!(matches!(gateway.listen(), Err(Dropped::Words)), "a greeting with a descriptor");
    let (mut gateway, theirs) = greeted();
    greet(theirs.as_fd()).expect("sent");
    assert!(matches!(gateway.listen(), Err(Dropped::Words)), "a second greeting");
}

#[test]
fn one_that_is_gone_is_dropped() {
    let (mut gateway, theirs) = greeted();
    drop(theirs);
    gateway.tell(ToGateway::Closed { shell: ShellId(1) }).expect("nobody has noticed yet");
    assert!(matches!(gateway.send(|_| None), Err(Dropped::Gone)));
    assert!(matches!(gateway.listen(), Err(Dropped::Gone)));
}

#[test]
fn one_that_does_not_read_neither_stalls_the_jailer_nor_fills_its_memory() {
    let (mut gateway, theirs) = greeted();
    let mut told = 0;
    let refused = loop {
        match gateway.tell(ToGateway::Closed { shell: ShellId(told) }) {
            Ok(()) => told += 1,
            Err(why) => break why,
        }
        // Full or not: it returns.
        gateway.send(|_| None).expect("its patience is longer than this test");
    };
    assert!(matches!(refused, Dropped::Stuck), "{refused}");
    let sent = usize::try_from(told).expect("few") - KEPT_MAX;
    assert!(sent > 0, "some of it went into the socket");
    // One that reads late misses nothing of what was kept.
    let mut seen = 0;
    while seen < told {
        match receive(theirs.as_fd()).expect("a live socket") {
            Some((message, _)) => {
                assert_eq!(message, ToGateway::Closed { shell: ShellId(seen) });
                seen += 1;
            }
            None => assert!(!gateway.kept.is_empty() && gateway.send(|_| None).is_ok()),
        }
    }
    gateway.took_at = Instant::now().checked_sub(PATIENCE).expect("the host is up for longer");
    assert!(gateway.send(|_| None).expect("nothing is kept"), "one that has taken all of it is not stuck");
}

#[test]
fn one_that_takes_nothing_for_too_long_is_dropped() {
    let (mut gateway, _theirs) = greeted();
    let mut number = 0;
    loop {
        gateway.tell(ToGateway::Closed { shell: ShellId(number) }).expect("there is room for a few");
        number += 1;
        if !gateway.send(|_| None).expect("patience") {
            break;
        }
    }
    gateway.took_at = Instant::now().checked_sub(PATIENCE).expect("the host is up for longer");
    assert!(matches!(gateway.send(|_| None), Err(Dropped::Stuck)));
}

#[test]
fn whoever_comes_through_the_door_comes_alone() {
    let (door, theirs) = wire::pair(SocketType::SEQPACKET).expect("a socket");
    assert!(introduced(door.as_fd()).expect("an open door").is_none());
    introduce(theirs.as_fd(), null()).expect("sent");
    assert!(introduced(door.as_fd()).expect("an open door").is_some());
    for (word, fds) in [(&b"G"[..], 0), (b"G", 2), (b"X", 1)] {
        let fds: Vec<OwnedFd> = (0..fds).map(|_| null()).collect();
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        wire::send(theirs.as_fd(), word, &fds).expect("sent");
        assert!(introduced(door.as_fd()).is_err(), "{word:?}");
    }
    drop(theirs);
    assert!(introduced(door.as_fd()).is_err(), "closed");
}
