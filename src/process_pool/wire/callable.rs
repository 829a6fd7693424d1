//! Functions that can be called in a worker process.

/// A function that can be called in another process, with its arguments as a tuple.
///
/// Implemented for function items and for closures that capture nothing, with up to eight parameters. No other type can
/// implement it: the other process finds the function by its place in the executable, and a captured value has no such
/// place.
///
/// A captured value without a size (a token) is accepted: in the worker there is one that nobody made, so that it proves nothing there.
///
/// Generic parameters have to be known, and parameters own their data: they can't borrow from another process. The
/// compiler checks that a closure captures nothing where the call is compiled, not by this trait.
///
/// # Examples
///
/// ```
/// use bowline::ProcessPoolExecutor;
///
/// fn largest<T: Ord>(mut of: Vec<T>) -> Option<T> {
///     of.sort();
///     of.pop()
/// }
///
/// let pool = ProcessPoolExecutor::new(1)?;
/// assert_eq!(pool.submit(largest::<u8>, (vec![3, 7, 5],)).result()?, Some(7));
/// assert_eq!(pool.submit(|text: String| text.len(), ("knot".to_owned(),)).result()?, 4); // not `str::len`
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be called in a worker process with the arguments `{Args}`",
    note = "a function item, or a closure that captures nothing and says the types of its parameters, with its arguments \
            as a tuple: `submit(add, (1, 2))`, `submit(|n: u64| n + 1, (1,))`"
)]
pub trait Callable<Args>: sealed::Sealed<Args> + Copy + Send + 'static {
    /// What the function returns.
    type Output;

    /// Calls the function.
    #[doc(hidden)]
    fn call(self, args: Args) -> Self::Output;
}

mod sealed {
    pub trait Sealed<Args> {}
}

macro_rules! callable {
    ($($arg:ident)*) => {
        impl<F, R, $($arg),*> sealed::Sealed<($($arg,)*)> for F where F: Fn($($arg),*) -> R + Copy + Send + 'static {}

        impl<F, R, $($arg),*> Callable<($($arg,)*)> for F
        where
            F: Fn($($arg),*) -> R + Copy + Send + 'static,
        {
            type Output = R;

            #[allow(non_snake_case, reason = "each value is named as its type")]
            fn call(self, ($($arg,)*): ($($arg,)*)) -> R {
                self($($arg),*)
            }
        }
    };
}

callable!();
callable!(A);
callable!(A B);
callable!(A B C);
callable!(A B C D);
callable!(A B C D E);
callable!(A B C D E G);
callable!(A B C D E G H);
callable!(A B C D E G H I);
