//! What is read of sources, in which `«` stands before the call that takes the lock and `»` before the one that waits.

use proptest::prelude::*;

use super::*;

/// Returns the line and the column of a mark, and the text without it.
fn unmark(text: &str, mark: char) -> (String, (u32, u32)) {
    let (before, after) = text.split_once(mark).unwrap_or_else(|| panic!("no {mark} in {text}"));
    let count = |count: usize| u32::try_from(count + 1).unwrap();
    let line = before.rsplit('\n').next().unwrap();
    let place = (count(before.matches('\n').count()), count(line.chars().filter(|c| !"«»".contains(*c)).count()));
    (format!("{before}{after}"), place)
}

/// A marked text: without its marks, and where these are.
struct Marked {
    text: String,
    takes: (u32, u32),
    waits: (u32, u32),
}

impl Marked {
    fn new(text: &str) -> Self {
        let (_, takes) = unmark(text, '«');
        let (without, waits) = unmark(text, '»');
        Self { text: without.replace('«', ""), takes, waits }
    }

    fn calls(&self, syntax: &Syntax<'_>) -> (Option<Call>, Option<Call>) {
        let at = |(line, column)| Call::at(syntax, line, column);
        (at(self.takes), at(self.waits))
    }

    /// Returns the extent of the guard, as a report names it.
    fn extent(&self) -> Option<String> {
        let syntax = Syntax::of(self.text.as_bytes()).expect("a text with delimiters that match");
        let (Some(takes), Some(waits)) = self.calls(&syntax) else { return None };
        Extent::of(&syntax, takes, waits).map(|extent| extent.to_string())
    }

    /// Returns the functions of both calls, and whether that of the first one keeps its guard.
    fn functions(&self) -> Option<(String, String, bool)> {
        let syntax = Syntax::of(self.text.as_bytes())?;
        let (takes, waits) = self.calls(&syntax);
        let around = |call: Option<Call>| Function::around(&syntax, call?);
        let (holder, waiter) = (around(takes)?, around(waits)?);
        Some((holder.to_string(), waiter.to_string(), holder.keeps(&syntax, takes?)))
    }
}

fn extent(statements: &str) -> Option<String> {
    Marked::new(&format!("fn f() {{ before(); {statements}\n }}")).extent()
}

#[test]
fn a_temporary_lives_to_the_end_of_what_it_is_a_part_of() {
    for (statements, expected) in [
        ("match a.«lock().get(0) { None => b.»lock(), _ => {} }", "`match`"),
        ("match *a.«lock() { _ => b.»lock() }", "`match`"),
        ("match &mut *a.«lock() { _ => b.»lock() }", "`match`"),
        ("match &a.«lock() { _ => b.»lock() }", "`match`"),
        ("match a.«lock().field { _ => { loop { b.»lock(); } } }", "`match`"),
        ("match a.«lock()[0] { _ => b.»lock() }", "`match`"),
        ("match a.«acquire()?.get(0) { _ => b.»lock() }", "`match`"),
        ("match a.«try_lock().unwrap().get(0) { _ => b.»lock() }", "`match`"),
        ("match a.«lock().expect(\"x\").get(0) { _ => b.»lock() }", "`match`"),
        ("match a.«lock_for::<u8>(1).get::<u8>(0) { _ => b.»lock() }", "`match`"),
        ("match self.map[&k].«lock().len() { _ => self.b.»lock() }", "`match`"),
        ("match self.all()?.of(1).0.«lock().len() { _ => self.b.»lock() }", "`match`"),
        ("match (f(1, a.«lock().len()), 2) { _ => b.»lock() }", "`match`"),
        ("match Lock::«lock(&a).len() { _ => b.»lock() }", "nothing"),
        ("match «Lock::lock(&a).len() { _ => »Lock::lock(&b) }", "`match`"),
        ("match «Lock::<u8>::lock(&a).len() { _ => b.»lock() }", "`match`"),
        ("let x = match a.«lock().len() { _ => b.»lock().len() };", "`match`"),
        ("x(|k| match a.«lock().get(k) { _ => b.»lock() })", "`match`"),
        ("match a.«lock().len() { _ if b.»lock().ok2() => {} _ => {} }", "`match`"),
        ("match a.«lock().get(b.»lock()) { _ => {} }", "`match`"),
        ("match a.«lock().len() { _ => run(|| b.»lock()) }", "`match`"),
        ("match a.«lock().len() { 0 => match 1 { _ => b.»lock() }, _ => {} }", "`match`"),
        ("match match a.«lock().len() { n => n } { _ => b.»lock() }", "`match`"),
        ("if let Some(x) = a.«lock().get(0) { b.»lock(); }", "`if let` block"),
        ("if let Some(x) = a.«lock().get(0) { b.»lock(); } else { }", "`if let` block"),
        ("if let Some(x) = a.«lock().get(0) { } else { b.»lock(); }", "`if let … else`"),
        ("if let Some(x) = a.«lock().get(0) { } else if c { b.»lock(); }", "`if let … else`"),
        ("if let Some(x) = a.«lock().get(0) { } else if b.»lock().x { }", "`if let … else`"),
        ("if let Some(x) = a.«lock().get(0) { } else if c { } else { b.»lock(); }", "`if let … else`"),
        ("if let S { x, .. } = &*a.«lock() { b.»lock(); }", "`if let` block"),
        ("if let A | B = *a.«lock() { b.»lock(); }", "`if let` block"),
        ("if c { } else if let Some(x) = a.«lock().get(0) { b.»lock(); }", "`if let` block"),
        ("if let Some(x) = y && let Some(z) = a.«lock().get(x) { b.»lock(); }", "`if let` block"),
        ("if let Some(x) = a.«lock().get(0) && x > 1 { b.»lock(); }", "`if let` block"),
        ("if let Some(x) = a.«lock().get(0) && b.»lock().ok2() { }", "`if let` block"),
        ("while let Some(x) = a.«lock().pop() { b.»lock(); }", "`while let` block"),
        ("'a: while let Some(x) = a.«lock().pop() && x > 1 { b.»lock(); }", "`while let` block"),
        ("for x in a.«lock().iter() { b.»lock(); }", "`for` loop"),
        ("for x in &*a.«lock() { b.»lock(); }", "`for` loop"),
        ("for i in 0..a.«lock().len() { b.»lock(); }", "`for` loop"),
        ("for S { x, y } in a.«lock().iter() { b.»lock(); }", "`for` loop"),
        ("for A(x) | B(x) in a.«lock().iter().map(|x| x + 1) { b.»lock(); }", "`for` loop"),
        ("if a.«lock().len() == b.»lock().len() { }", "condition"),
        ("while a.«lock().len() == b.»lock().len() { }", "condition"),
        ("match c { _ if a.«lock().len() == b.»lock().len() => {} _ => {} }", "condition"),
        ("match c { _ => a.«lock().push(b.»lock().len()), }", "`match` arm"),
        ("match c { _ => a.«lock().push(b.»lock().len()) }", "`match` arm"),
        ("a.«lock().push(b.»lock().len());", "statement"),
        ("a.«lock().push(b.»lock().len())", "statement"),
        ("a.«lock().retain(|x| b.»lock().has(x));", "statement"),
        ("a.«lock().retain(|x| { c(); b.»lock().has(x) });", "statement"),
        ("*a.»lock() = a.«lock().len() + 1;", "statement"),
        ("*a.«lock() += *b.»lock();", "statement"),
        ("let n = a.«lock().len() + b.»lock().len();", "statement"),
        ("let n = *a.«lock() + *b.»lock();", "statement"),
        ("let m: HashMap<K, V> = make(a.«lock().len(), b.»lock());", "statement"),
        ("let n = a.«lock().len() + if c { b.»lock().len() } else { 0 };", "statement"),
        ("let Some(n) = pair(a.«lock().get(0), b.»lock()) else { return };", "statement"),
        ("let v = match a.«lock().len() { n => n } + b.»lock().len();", "statement"),
        ("return f(a.«lock().len(), b.»lock().len());", "statement"),
        ("if x { } f(a.«lock().len(), b.»lock().len());", "statement"),
        ("f(match x { _ => 1 }, a.«lock().len(), b.»lock().len());", "statement"),
        ("f(if c { 1 } else { 2 }, a.«lock().len(), b.»lock().len());", "statement"),
        ("if c { } *x = f(a.«lock().len(), b.»lock().len());", "statement"),
        ("f(match x { _ => 1 } + a.«lock().len(), b.»lock().len());", "statement"),
        ("f(if c { 1 } else { 2 } + a.«lock().len(), b.»lock().len());", "statement"),
        ("f(match unsafe { 1 } + a.«lock().len() { _ => b.»lock() });", "`match`"),
        ("x = !(f(a.«lock().len(), b.»lock().len()));", "statement"),
        ("f([a.«lock().len(), b.»lock().len()]);", "statement"),
        ("S { x: a.«lock().len() + b.»lock().len() };", "statement"),
        ("run(|| { a.«lock().push(b.»lock().len()); });", "statement"),
        ("println!(\"{} {}\", a.«lock(), b.»lock());", "nothing"),
        ("println!(\"{} {}\", *a.«lock(), b.»lock());", "`println!`"),
        ("std::println!(\"{} {x}\", a.«lock().len(), x = b.»lock());", "`println!`"),
        ("assert_eq!(*a.«lock(), *b.»lock());", "`assert_eq!`"),
        ("assert_eq!(1, a.«lock().len(), \"{}\", b.»lock());", "`assert_eq!`"),
        ("assert!(a.«lock().len() == b.»lock().len(), \"text\");", "condition"),
        ("let v = vec![a.«lock().len(), b.»lock().len()];", "`vec!`"),
        ("own! { match a.«lock().len() { _ => b.»lock() } }", "`match`"),
        ("own!(match a.«lock().len() { _ => b.»lock() })", "`match`"),
        (
            "match a // { match\n .b /* { /* ; */ */ .«lock().get(\"}\", '{', '\\'', r#\"}\"#) { 'x' => b.»lock(), _ => {} }",
            "`match`",
        ),
        ("match\r\n\ta.größe.«lock().len()\r\n{\r\n\t_ => \"漢\".x(b.»lock()),\r\n}", "`match`"),
        ("#[allow(x)] match a.«lock().len() { _ => b.»lock() }", "`match`"),
        ("match a.r#match.«lock().len() { _ => b.»lock() }", "`match`"),
        ("match a.«lock().await.len() { _ => b.»lock() }", "`match`"),
        ("match f(&mut a.«lock()) { _ => b.»lock() }", "`match`"),
        ("match *f(1).«lock() { _ => b.»lock() }", "`match`"),
        ("match *v[0].«lock() { _ => b.»lock() }", "`match`"),
        ("match *(v).«lock() { _ => b.»lock() }", "`match`"),
        ("match *of::<Vec<u8>>(1).«lock() { _ => b.»lock() }", "`match`"),
        ("match *Vec::<Vec<u8>>::new().«lock() { _ => b.»lock() }", "`match`"),
        ("match *of!(x).«lock() { _ => b.»lock() }", "`match`"),
        ("match !(a).«lock().len() { _ => b.»lock() }", "nothing"),
        ("match (a).«lock().len() { _ => b.»lock() }", "`match`"),
        ("match of::<u8>(1).«lock().len() { _ => b.»lock() }", "`match`"),
        ("match Vec::<u8>::new().«lock().len() { _ => b.»lock() }", "`match`"),
        ("match of!(x).«lock().len() { _ => b.»lock() }", "`match`"),
    ] {
        assert_eq!(extent(statements).as_deref().unwrap_or("nothing"), expected, "{statements}");
    }
}

#[test]
fn nothing_is_said_where_the_guard_is_gone_or_is_no_temporary() {
    for statements in [
        // Bound.
        "let g = a.«lock(); match g.get(0) { _ => b.»lock() }",
        "match a.«lock() { g => b.»lock() }",
        "if let Some(g) = a.«try_lock() { b.»lock() }",
        "if let Ok(g) = a.«acquire().map_err(f) { b.»lock() }",
        "match a.«acquire()? { g => b.»lock() }",
        "match a.«acquire().unwrap() { g => b.»lock() }",
        "let x = &a.«lock().field; b.»lock();",
        "let x = (&a.«lock().field, b.»lock());",
        // Moved.
        "match f(a.«lock()) { _ => b.»lock() }",
        "match a.«try_lock().map(|g| g.len()) { _ => b.»lock() }",
        "match a.«lock().into_inner() { _ => b.»lock() }",
        "match *a.«try_lock().map(f) { _ => b.»lock() }",
        "match a.«lock().await { _ => b.»lock() }",
        // Dropped before.
        "if c { b.»lock(); } f(a.«lock().len(), 1);",
        "f(x || of::<A, B>(a.«lock().len()), b.»lock());",
        "match a.«lock().len() { _ => {} } b.»lock();",
        "a.«lock().len(); b.»lock();",
        "let n = a.«lock().len(); b.»lock();",
        "if let Some(x) = a.«lock().get(0) { } else { } b.»lock();",
        "if let Some(x) = y { a.«lock().get(0); } else { b.»lock(); }",
        "let Some(x) = a.«lock().get(0) else { return b.»lock() };",
        "if a.«lock().len() == 1 { b.»lock(); }",
        "while a.«lock().len() == 1 { b.»lock(); }",
        "match c { _ if a.«lock().len() == 1 => { b.»lock() } _ => {} }",
        "match c { A => a.«lock().len(), B => b.»lock().len() }",
        "match a.«lock().ok2() && c { _ => b.»lock() }",
        "match c && a.«lock().ok2() { _ => b.»lock() }",
        "match f(c || a.«lock().ok2()) { _ => b.»lock() }",
        "let x = a.«lock().ok2() && b.»lock().ok2();",
        "if a.«lock().ok2() && let Some(x) = y { b.»lock(); }",
        "if a.«lock().ok2() && b.»lock().ok2() { }",
        "match { a.«lock().len() } { _ => b.»lock() }",
        "match unsafe { a.«lock().len() } { _ => b.»lock() }",
        "match v.iter().map(|x| a.«lock().has(x)) { _ => b.»lock() }",
        "match v.iter().map(|x| { a.«lock().has(x) }) { _ => b.»lock() }",
        "v.map(|x| *x = a.«lock().len(), b.»lock());",
        "let f = |x| *x = a.«lock().len(); b.»lock();",
        "assert!(a.«lock().ok2(), \"{}\", b.»lock());",
        "assert!(c, \"{} {}\", a.«lock().len(), b.»lock());",
        "{ a.«lock().len() }; b.»lock();",
        "match x { y => 1 } a.«lock().len(); match z { _ => b.»lock() }",
        "for x in y { a.«lock().len(); } b.»lock();",
        "loop { a.«lock().len(); } for x in y { b.»lock(); }",
        // Before there is a guard.
        "a.«with(|x| b.»lock()).len();",
        "match a.«with(b.»lock()).len() { _ => {} }",
        // Of a macro that may do anything.
        "own!(*a.«lock(), *b.»lock());",
        "own! { a.«lock().push(b.»lock().len()) }",
        "own::println!(*a.«lock(), *b.»lock());",
        "vec![a.«lock().len(); b.»lock().len()];",
        "own! name { a.«lock().push(b.»lock().len()) }",
        "#[own(f(a.«lock().len(), b.»lock().len()))] let x = 1;",
        // In what may be a match.
        "S { x: y, z: a.«lock().len() + b.»lock().len() };",
        // No call of a function.
        "match «own!(a).len() { _ => b.»lock() }",
        "match a.«field.len() { _ => b.»lock() }",
        "match «*LAZY { _ => b.»lock() }",
        "match a.«lock().len() { _ => »own!(b) }",
        "match a.l«ock().len() { _ => b.»lock() }",
        "// match a.«lock().len() { _ => b.»lock() }",
        "\"match a.«lock().len() { _ => b.»lock() }\";",
    ] {
        assert_eq!(extent(statements), None, "{statements}");
    }
}

#[test]
fn outside_of_a_function_nothing_is_said() {
    for text in ["static A: u8 = a.«lock().len() + b.»lock().len();", "a.«lock().len(b.»lock())"] {
        assert_eq!(Marked::new(text).extent(), None, "{text}");
        assert_eq!(Marked::new(text).functions(), None, "{text}");
    }
}

#[test]
fn a_text_that_is_not_what_was_compiled_has_no_syntax() {
    assert!(Syntax::of(b"fn f() { ").is_none());
    assert!(Syntax::of(b"fn f() ]").is_none());
    assert!(Syntax::of(b"\xff").is_none());
    assert!(Syntax::of(" ".repeat(MAX_LENGTH).as_bytes()).is_some());
    assert!(Syntax::of(" ".repeat(MAX_LENGTH + 1).as_bytes()).is_none());
}

#[test]
fn lines_and_columns_are_counted_as_the_compiler_does() {
    let text = "\u{feff}a.lock()\r\n\tb(漢, e\u{301}).lock()\n\nc";
    let syntax = Syntax::of(text.as_bytes()).unwrap();
    let word = |line, column| syntax.token_at(line, column).map(|at| syntax.word(at));
    assert_eq!(word(1, 1), Some("a"), "the mark of the byte order has no column");
    assert_eq!(word(1, 3), Some("lock"));
    assert_eq!(word(2, 2), Some("b"));
    assert_eq!(word(2, 11), Some("lock"), "columns are characters");
    assert_eq!(word(4, 1), Some("c"), "a last line without an end");
    for (line, column) in
        [(0, 1), (1, 0), (1, 4), (1, 10), (2, 1), (3, 1), (3, 2), (4, 2), (5, 1), (u32::MAX, u32::MAX)]
    {
        assert_eq!(word(line, column), None, "{line}:{column}");
    }
}

#[test]
fn a_function_is_named_as_a_reader_knows_it() {
    for (text, names) in [
        ("fn f() { let g = a.«lock(); } fn h() { b.»lock(); }", ["`f`", "`h`"]),
        (
            "fn f() { let g = a.«lock(); } fn h() { run(|x| if x { 1 } else { b.»lock() }) }",
            ["`f`", "a closure of `h`"],
        ),
        ("fn f() { let g = a.«lock(); fn h() { b.»lock(); } }", ["`f`", "`h`"]),
        (
            "impl A { fn f() { let g = a.«lock(); } } impl<T> B for C<T> where T: D { fn h() { b.»lock(); } }",
            ["`A::f`", "`C::h`"],
        ),
        ("trait A: B { fn f() { let g = a.«lock(); } } mod m { pub fn h() { b.»lock(); } }", ["`A::f`", "`h`"]),
        (
            "fn f() { let g = a.«lock(); } impl Drop for A<'_> { fn drop(&mut self) { b.»lock(); } }",
            ["`f`", "the `Drop` of `A`"],
        ),
        ("fn f() { let g = a.«lock(); } impl A { fn drop(&mut self) { b.»lock(); } }", ["`f`", "`A::drop`"]),
        (
            "fn f() { let g = a.«lock(); } impl Drop for A { fn drop(&mut self) { run(|| b.»lock()); } }",
            ["`f`", "a closure of the `Drop` of `A`"],
        ),
        (
            "fn f() { let g = a.«lock(); } impl fmt::Display for &m::A { fn fmt() { b.»lock(); } }",
            ["`f`", "the `Display` of `A`"],
        ),
        (
            "fn f() { let g = a.«lock(); } impl<T: Fn() -> u8> std::fmt::Debug for A<T> { fn fmt() -> X { b.»lock(); } }",
            ["`f`", "the `Debug` of `A`"],
        ),
        (
            "fn f() { let g = a.«lock(); } unsafe impl Iterator for A { type Item = u8; fn next() -> Option<u8> { b.»lock(); } }",
            ["`f`", "the `Iterator` of `A`"],
        ),
        (
            "fn f() { let g = a.«lock(); } impl<F: for<'a> Fn(&'a u8)> for<'b> Tr<'b> for A { fn h() { b.»lock(); } }",
            ["`f`", "`A::h`"],
        ),
        (
            "fn f() { let g = a.«lock(); } fn h(f: fn(u8) -> u8) -> impl Fn() { move || b.»lock() }",
            ["`f`", "a closure of `h`"],
        ),
        ("fn f() { let g = a.«lock(); } fn h() { run(|x, (y, z)| x + b.»lock()) }", ["`f`", "a closure of `h`"]),
        (
            "fn f() { let g = a.«lock(); } fn h() { run(|x: S| -> u8 { if c { b.»lock() } }, 1) }",
            ["`f`", "a closure of `h`"],
        ),
        ("fn f() { let g = a.«lock(); } fn h() { run(|x| x, y | b.»lock()) }", ["`f`", "`h`"]),
        ("fn f() { let g = a.«lock(); } fn h() { match x { A | B => c || b.»lock() } }", ["`f`", "`h`"]),
        ("fn f() { let g = a.«lock(); } fn h() { run(|x| x); b.»lock(); }", ["`f`", "`h`"]),
        (
            "own! { fn f() { let g = a.«lock(); } } macro_rules! m { ($n:ident) => { fn $n() {} } } fn r#h() { b.»lock(); }",
            ["`f`", "`r#h`"],
        ),
    ] {
        let functions = Marked::new(text).functions();
        assert_eq!(functions, Some((names[0].to_owned(), names[1].to_owned(), true)), "{text}");
    }
}

#[test]
fn a_function_keeps_the_guards_that_it_neither_returns_nor_stores() {
    for (statements, keeps) in [
        ("let g = a.«lock(); h();", true),
        ("let mut g: LockGuard<'_, u8> = a.«lock(); *g += 1; h(&mut g, &g, g.len(), g[0]); drop(g);", true),
        ("let _g = a.«lock(); h();", true),
        ("let Some(g) = a.«try_lock() else { return }; h();", true),
        ("let g = a.«acquire()?; g.len()", true),
        ("let g = a.«acquire().unwrap(); g.len()", true),
        ("if let Ok(g) = a.«acquire() { h(); }", true),
        ("let g = a.«lock(); { let g = 1; } x.g; g(); S { g: 1 };", true),
        ("for x in a.«lock().iter() { h(x) }", true),
        ("h(&a.«lock().x.y())", true),
        ("let g = a.«lock(); s.spawn(move || h()); g.len()", false),
        ("let g = a.«lock(); let f = move || h(); f()", true),
        ("let g = a.«lock(); h(|| g.len())", true),
        ("let g = a.«lock(); g", false),
        ("let mut g = a.«lock(); move |n| g.push(n)", false),
        ("let g = a.«lock(); Box::new(move || g.len())", false),
        ("let g = a.«lock(); async move { g.len() }", false),
        ("let g = a.«lock(); Some(g)", false),
        ("let g = a.«lock(); S { x: g }", false),
        ("let g = a.«lock(); S { g }", false),
        ("let g = a.«lock(); h(g)", false),
        ("let g = a.«acquire(); g?", false),
        ("let g = a.«acquire(); g.map(store)", false),
        ("let _ = a.«lock();", false),
        ("a.«lock()", false),
        ("guards.push(a.«lock());", false),
        ("self.guard = Some(a.«lock());", false),
        ("self.guard = a.«lock();", false),
        ("S { guard: a.«lock() }", false),
        ("h(a.«lock());", false),
        ("a.«try_lock().map(store);", false),
        ("let x = &*a.«lock();", false),
    ] {
        let text = format!("fn f() {{ {statements} }} fn h() {{ b.»lock(); }}");
        assert_eq!(Marked::new(&text).functions().map(|(_, _, keeps)| keeps), Some(keeps), "{statements}");
    }
}

/// Asks all questions of all pairs of some tokens of a text.
fn ask(text: &str) {
    let Some(syntax) = Syntax::of(text.as_bytes()) else { return };
    let text = syntax.text;
    for (at, token) in syntax.tokens.iter().enumerate() {
        assert!(token.begin < token.end && text.is_char_boundary(token.begin) && text.is_char_boundary(token.end));
        assert!(at == 0 || syntax.tokens[at - 1].end <= token.begin);
        assert_eq!(syntax.partner(syntax.partner(at)), at);
    }
    let places = text
        .split('\n')
        .enumerate()
        .flat_map(|(line, text)| (0..=text.chars().count()).map(move |column| (line, column)));
    let calls: Vec<_> = places.filter_map(|(line, column)| Call::at(&syntax, line as u32, column as u32 + 1)).collect();
    for &takes in calls.iter().take(20) {
        let function = Function::around(&syntax, takes);
        for &waits in calls.iter().rev().take(20) {
            let _ = Extent::of(&syntax, takes, waits).map(|extent| extent.to_string());
        }
        let _ = function.map(|function| (function.to_string(), function.keeps(&syntax, takes)));
    }
}

/// Words and signs of Rust, of which most texts are calls.
fn rust() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "a",
        ".lock()",
        ".lock(",
        ").get(",
        "fn f() {",
        "impl Drop for X {",
        "match ",
        "if ",
        "if let ",
        "while let ",
        "for ",
        " in ",
        "else ",
        "let ",
        "= ",
        "=> ",
        "&& ",
        "|| ",
        "|x| ",
        "|",
        ", ",
        "; ",
        "{ ",
        "} ",
        "( ",
        ") ",
        "[ ",
        "] ",
        "< ",
        "> ",
        "::<",
        "::",
        "? ",
        "* ",
        "& ",
        "!",
        "println!(",
        "macro_rules! m {",
        "'a ",
        "'a' ",
        "'{' ",
        "\"}\" ",
        "r#\"{\"# ",
        "\"",
        "//",
        "\n",
        "/*",
        "*/",
        "\r\n\t",
        "漢",
        "\u{feff}",
        ".await",
        "move ",
        "unsafe ",
        "where ",
        "0.",
        "#",
        "b'",
        "r#",
        "drop(a)",
        "return ",
    ]);
    prop::collection::vec(words, 0..60).prop_map(|words| words.concat())
}

/// Texts whose delimiters match.
fn nested_rust() -> impl Strategy<Value = String> {
    rust().prop_recursive(4, 60, 6, |inner| {
        let groups = prop::sample::select(vec![
            ("(", ")"),
            ("[", "]"),
            ("{", "}"),
            ("fn f() {", "}"),
            ("match a.lock().b {", "}"),
        ]);
        let parts = prop::collection::vec(
            (groups, inner, prop::sample::select(vec!["; ", ", ", " => ", "", "a.lock().x()"])),
            0..6,
        );
        parts.prop_map(|parts| {
            let balanced = |text: &str| lex(text).is_some();
            let part = |((open, close), inner, after): ((&str, &str), String, &str)| {
                let inner = if balanced(&inner) { inner } else { "a.lock().b(b.lock())".to_owned() };
                format!("{open}{inner}{close}{after}")
            };
            parts.into_iter().map(part).collect::<String>()
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 4 } else { 400 }, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_are_too_much(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Syntax::of(&bytes);
        ask(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn no_characters_are_too_much(text in any::<String>(), signs in "[-a('\"{}\\[\\])r#b/*.!|&=;,<>\n\\\\]{0,80}") {
        ask(&text);
        ask(&signs);
    }

    #[test]
    fn no_words_are_too_much(text in rust(), nested in nested_rust()) {
        ask(&text);
        ask(&nested);
        ask(&format!("fn f() {{ {nested} }}"));
    }
}

/// Checks that twice the text takes at most a few times the time, of texts of half a megabyte.
#[test]
#[cfg_attr(miri, ignore = "takes too long")]
fn long_texts_take_time_in_proportion_to_their_length() {
    for part in [
        "a.lock().b(",
        "fn a ",
        "|x| ",
        "a<",
        "match a {} ",
        "let ",
        "r#",
        "'a",
        "a.b::<c>().",
        "impl ",
        "((",
        "&&*",
        ", ",
    ] {
        let count = (1 << 18) / part.len();
        let mut text = format!("fn f() {{ {} a.lock().b(b.lock())", part.repeat(count));
        let mut open = Vec::new();
        text.chars().for_each(|c| match c {
            '(' => open.push(')'),
            '{' => open.push('}'),
            ')' | '}' => _ = open.pop(),
            _ => {}
        });
        text.extend(open.iter().rev());
        let syntax = Syntax::of(text.as_bytes()).unwrap_or_else(|| panic!("{part}"));
        let last = (0..syntax.tokens.len()).rev().filter(|&at| syntax.word(at) == "lock").take(2);
        let calls: Vec<_> =
            last.filter_map(|at| Call::at(&syntax, 1, u32::try_from(syntax.tokens[at].begin + 1).unwrap())).collect();
        if let [waits, takes] = calls[..] {
            let _ = Extent::of(&syntax, takes, waits);
            let _ = Function::around(&syntax, takes).map(|function| function.keeps(&syntax, takes));
        }
    }
    let depth = 1 << 18;
    assert!(
        Syntax::of(("/*".repeat(depth) + &"*/".repeat(depth)).as_bytes())
            .is_some_and(|syntax| syntax.tokens.is_empty())
    );
}
