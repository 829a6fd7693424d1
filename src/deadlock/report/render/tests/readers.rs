//! Read-write locks in reports and long waits.

use super::*;

#[test]
#[cfg_attr(miri, ignore = "reads files")]
fn a_read_write_lock_and_one_thread() {
    use Access::{Read, UpgradableRead, Write};
    let ports = Resource { primitive: "RwLock", ..lock(1, Some("ports"), MADE) };
    for (name, held, wanted) in [
        ("read-then-write", Read, Write),
        ("write-then-read", Write, Read),
        ("upgradable-then-write", UpgradableRead, Write),
        ("upgradable-twice", UpgradableRead, UpgradableRead),
    ] {
        let main = thread("main", 1).wants(wanted, &ports, B).has(held, &ports, A);
        Picture::Report(&made(Kind::Relock, [main], Vec::new())).is_golden(name);
    }
    let upgrades = thread("main", 1).waits_as_next_for(&ports, B).has(UpgradableRead, &ports, A).has(Read, &ports, C);
    Picture::Report(&made(Kind::Relock, [upgrades], Vec::new())).is_golden("upgrade-of-ones-own-read");
}

#[test]
#[cfg_attr(miri, ignore = "reads files")]
fn readers_and_writers_that_wait_for_each_other() {
    use Access::{Read, UpgradableRead, Write};
    let ports = Resource { primitive: "RwLock", ..lock(1, Some("ports"), MADE) };
    let [_, ledger, _] = named();
    let writer = || thread("writer", 2).waits_as_next_for(&ports, C);
    let reader = thread("reader", 1).wants(Read, &ports, B).has(Read, &ports, A);
    let behind = vec![thread("other", 3).wants(Read, &ports, D), thread("third", 4).wants(Write, &ports, D)];
    Picture::Report(&made(Kind::Cycle, [reader, writer()], behind)).is_golden("second-read-behind-a-writer");
    let reader = thread("reader", 1).wants(Write, &ports, B).has(Read, &ports, A);
    Picture::Report(&made(Kind::Cycle, [reader, writer()], Vec::new())).is_golden("read-then-write-behind-a-writer");
    let upgrades = thread("upgrades", 2).waits_as_next_for(&ports, C).has(UpgradableRead, &ports, D);
    let reader = thread("reader", 1).wants(Write, &ports, B).has(Read, &ports, A);
    Picture::Report(&made(Kind::Cycle, [upgrades, reader], Vec::new())).is_golden("upgrade-and-read-then-write");
    let reader = thread("reader", 1).waits(&ledger, B).has(Read, &ports, A);
    let writer = writer().holding(&ledger, D);
    Picture::Report(&made(Kind::Cycle, [reader, writer], Vec::new())).is_golden("reader-and-writer");
    let through = [
        thread("late", 3).wants(Read, &ports, D).holding(&ledger, C),
        thread("writer", 2).waits_as_next_for(&ports, C),
        thread("reader", 1).waits(&ledger, B).has(Read, &ports, A),
    ];
    Picture::Report(&made(Kind::Cycle, through, Vec::new())).is_golden("through-the-next-writer");
}

#[test]
#[cfg_attr(miri, ignore = "reads files")]
fn a_long_wait_for_a_read_write_lock() {
    use Access::{Read, Write};
    let ports = Resource { primitive: "RwLock", ..lock(1, Some("ports"), MADE) };
    let writer = || thread("writer", 2).waits_as_next_for(&ports, C);
    let long = |waiter, owner| LongWait { waiter, owner: Some(owner) };
    let reader = thread("reader", 1).has(Read, &ports, A);
    Picture::LongWait(&long(writer(), reader)).is_golden("long-wait-to-write");
    let reader = || thread("reader", 1).wants(Read, &ports, A);
    Picture::LongWait(&long(reader(), writer())).is_golden("long-wait-behind-the-next-writer");
    Picture::LongWait(&long(reader(), thread("writer", 2).has(Write, &ports, C))).is_golden("long-wait-to-read");
}
