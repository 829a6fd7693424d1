//! The stack of a thread, where the environment asks for that.

use crate::primitive::quiet::OnceLock;

/// The instructions that a thread was in, from the innermost call on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::deadlock) struct Stack(Box<[usize]>);

/// The variable that asks for stacks.
pub(in crate::deadlock) const VARIABLE: &str = "BOWLINE_BACKTRACE";

/// Returns whether the environment asks for stacks: it is looked at once.
pub(in crate::deadlock) fn is_asked_for() -> bool {
    static IS_ASKED_FOR: OnceLock<bool> = OnceLock::new();
    *IS_ASKED_FOR.get_or_init(|| std::env::var_os(VARIABLE).is_some_and(|value| !value.is_empty() && value != "0"))
}

/// Whether this program can tell stacks.
pub(in crate::deadlock) const IS_KNOWN: bool =
    cfg!(all(target_os = "linux", not(bowline_portable), not(all(test, loom)), feature = "backtrace"));

impl Stack {
    /// Returns the stack of the thread with this number, empty if it is not asked for or not told.
    pub(in crate::deadlock) fn of(os_id: u32) -> Self {
        #[cfg(all(target_os = "linux", not(bowline_portable), not(all(test, loom)), feature = "backtrace"))]
        if is_asked_for() {
            return Self(crate::primitive::stack_trace::trace(os_id).into());
        }
        let _ = os_id;
        Self::default()
    }

    /// Returns a line for each call; of a thread that waits without those of this crate in which it does.
    pub(in crate::deadlock) fn lines(&self, waits: bool) -> Vec<String> {
        #[cfg(all(target_os = "linux", not(bowline_portable), not(all(test, loom)), feature = "backtrace"))]
        return crate::primitive::stack_trace::symbolize(&self.0, waits);
        #[cfg(not(all(target_os = "linux", not(bowline_portable), not(all(test, loom)), feature = "backtrace")))]
        {
            let _ = waits;
            Vec::new()
        }
    }

    pub(in crate::deadlock) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
