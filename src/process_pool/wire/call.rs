//! A call of a function in another process: how it gets there, and its result back.

use std::any::Any;
use std::any::type_name;
use std::mem::size_of;
use std::ptr::NonNull;
use std::sync::{Arc, OnceLock};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::blob::{Attached, Attachments, Blob};
use super::callable::Callable;
use super::codec;
use super::frame::{self, LostDescriptors, Message};
use super::identity::{Identity, NotHere};
use super::memory;
use super::progress;
use super::region::BULK;
use super::registry;
use super::reply::{ReadReply, Replied, Reply};
use crate::primitive::quiet::Mutex;
use crate::task::error::{CodecError, TaskError};
use crate::task::panic::{self, Caught, PanicInfo, PanicLocation};
use crate::task::results::Results;
use crate::task::runner::Runner;
use crate::task::task_ref::TaskRef;
use crate::task::when_done::Then;
use crate::thread_pool::Initialized;

/// The code that a worker runs for a call: reads the arguments, drops the message that they came in, and writes the
/// result behind what is in the buffer, with its blobs.
pub(in crate::process_pool) type Thunk =
    unsafe fn(Message<'_>, &mut Vec<u8>, &mut Attachments) -> Result<(), CallFailure>;

/// Reads the arguments of a call, and drops the message: while the function runs, large arguments are in memory only as
/// values.
fn read_arguments<A: DeserializeOwned>(mut message: Message<'_>) -> Result<A, CallFailure> {
    let came = message.take_descriptors();
    let failure = if came.is_ok() { CallFailure::Decode } else { CallFailure::WithoutBlobs };
    let mut attached = Attached::of_parent(came.map_err(LostDescriptors::text));
    let bytes = Call::arguments(message.payload());
    caught(|| codec::decode_with::<A>(bytes, &mut attached))?.map_err(failure)
}

/// Why a call has no result, as the worker sends it.
#[derive(Serialize, Deserialize, Debug)]
pub(in crate::process_pool) enum CallFailure {
    Panicked(RemotePanic),
    Decode(CodecError),
    /// The arguments can't be decoded because their blobs did not come. Another try may go better.
    WithoutBlobs(CodecError),
    Encode(CodecError),
    /// The function is not one of this executable's.
    NoFunction,
}

/// The maximum length of an encoded error of a task, whatever the limit for values is.
pub(in crate::process_pool) const MAX_FAILURE: usize = 64 << 10;
/// The maximum length of an initializer's error.
const MAX_TEXT: usize = 24 << 10;

/// Returns a text, or its beginning if it is too long.
fn shortened(text: &str) -> Box<str> {
    if text.len() <= MAX_TEXT {
        return text.into();
    }
    let kept = &text[..text.floor_char_boundary(MAX_TEXT)];
    format!("{kept}… ({} bytes in all)", text.len()).into()
}

/// A panic on its way between processes.
#[derive(Serialize, Deserialize, Debug)]
pub(in crate::process_pool) struct RemotePanic {
    message: Box<str>,
    location: Option<(Box<str>, u32, u32)>,
    thread: Option<Box<str>>,
    backtrace: Option<Box<str>>,
}

impl From<PanicInfo> for RemotePanic {
    fn from(panic: PanicInfo) -> Self {
        Self {
            message: panic.message().into(),
            location: panic.location().map(|place| (place.file().into(), place.line(), place.column())),
            thread: panic.thread().map(Box::from),
            backtrace: panic.backtrace().map(Box::from),
        }
    }
}

impl RemotePanic {
    /// Returns the panic as the waiter of the task gets it.
    pub(in crate::process_pool) fn into_info(self, process: u32) -> PanicInfo {
        let location = self.location.map(|(file, line, column)| PanicLocation::new(file, line, column));
        let Self { message, thread, backtrace, .. } = self;
        let payload: Box<dyn Any + Send> = Box::new(String::from(&*message));
        let payload = Mutex::new(Some(payload));
        Caught { message, location, thread, backtrace, process: Some(process), payload }.into()
    }
}

impl CallFailure {
    /// Returns the error of the task that this process ran.
    pub(in crate::process_pool) fn into_error(self, process: u32) -> TaskError {
        match self {
            Self::Panicked(panic) => TaskError::Panicked(panic.into_info(process)),
            Self::Decode(error) | Self::WithoutBlobs(error) => TaskError::Decode(error),
            Self::Encode(error) => TaskError::Encode(error),
            Self::NoFunction => TaskError::Decode(CodecError::new("the worker has no such function")),
        }
    }

    /// Returns the same in less than `max_size` bytes: without the backtrace, and with texts that are cut.
    #[cold]
    pub(in crate::process_pool) fn shortened(self, max_size: usize) -> Self {
        // At most three texts, and a few numbers.
        let cut = |text: &str| Box::from(&text[..text.floor_char_boundary(max_size / 4)]);
        match self {
            Self::Panicked(RemotePanic { message, location, thread, backtrace: _ }) => Self::Panicked(RemotePanic {
                message: cut(&message),
                location: location.map(|(file, line, column)| (cut(&file), line, column)),
                thread: thread.map(|thread| cut(&thread)),
                backtrace: None,
            }),
            Self::Decode(error) => Self::Decode(CodecError::new(cut(&error.to_string()))),
            Self::WithoutBlobs(error) => Self::WithoutBlobs(CodecError::new(cut(&error.to_string()))),
            Self::Encode(error) => Self::Encode(CodecError::new(cut(&error.to_string()))),
            Self::NoFunction => Self::NoFunction,
        }
    }
}

/// Makes a value of a type that has no size.
///
/// # Safety
///
/// The parent had a value of this type.
unsafe fn conjure<F: Copy>() -> F {
    const {
        assert!(
            size_of::<F>() == 0,
            "a function that is called in a worker process captures nothing, and is no function pointer: \
             pass the data as arguments, `submit(|data: Data| .., (data,))`"
        );
    }
    // SAFETY:
    // - nothing is read: the type has no size (above), and the pointer is aligned.
    // - it is inhabited: the parent had one (caller), and it may be copied.
    unsafe { NonNull::<F>::dangling().read() }
}

/// Runs one call of `F`.
///
/// # Safety
///
/// The code that wrote the arguments had a value of the type `F`.
unsafe fn run<F: Callable<A>, A: DeserializeOwned>(
    message: Message<'_>,
    result: &mut Vec<u8>,
    attachments: &mut Attachments,
) -> Result<(), CallFailure>
where
    F::Output: Serialize,
{
    // SAFETY:
    // - the caller's contract.
    let f = unsafe { conjure::<F>() };
    let args = read_arguments::<A>(message)?;
    let value = caught(|| f.call(args))?;
    encode_result(value, result, attachments)
}

/// Runs one call of `F`, whose submitter listens to values of the type `P`.
///
/// # Safety
///
/// As [`run`].
unsafe fn run_listened_to<F: Callable<A>, A: DeserializeOwned, P: 'static>(
    message: Message<'_>,
    result: &mut Vec<u8>,
    attachments: &mut Attachments,
) -> Result<(), CallFailure>
where
    F::Output: Serialize,
{
    // SAFETY:
    // - the caller's contract.
    progress::listened_to::<P, _>(|| unsafe { run::<F, A>(message, result, attachments) })
}

/// Runs the calls of one chunk. A call that panics does not affect the others.
///
/// # Safety
///
/// As [`run`].
unsafe fn run_chunk<F: Callable<(I,)>, I: DeserializeOwned>(
    message: Message<'_>,
    result: &mut Vec<u8>,
    attachments: &mut Attachments,
) -> Result<(), CallFailure>
where
    F::Output: Serialize,
{
    // SAFETY:
    // - the caller's contract.
    let f = unsafe { conjure::<F>() };
    let items = read_arguments::<Vec<I>>(message)?;
    let call = |item| panic::catch(|| f.call((item,))).map_err(RemotePanic::from);
    encode_result(items.into_iter().map(call).collect::<Vec<_>>(), result, attachments)
}

/// Runs an initializer, whose error is the result.
///
/// # Safety
///
/// As [`run`].
unsafe fn run_initializer<F: Callable<A>, A: DeserializeOwned>(
    message: Message<'_>,
    result: &mut Vec<u8>,
    attachments: &mut Attachments,
) -> Result<(), CallFailure>
where
    F::Output: Initialized,
{
    // SAFETY:
    // - the caller's contract.
    let f = unsafe { conjure::<F>() };
    let args = read_arguments::<A>(message)?;
    let ended = caught(|| f.call(args).into_result())?;
    // The limit is that of other errors, whatever the limit for values is.
    encode_result(ended.err().map(|reason| shortened(&reason)), result, attachments)
}

/// Runs code of the user's, and returns its panic as a failure.
fn caught<R>(run: impl FnOnce() -> R) -> Result<R, CallFailure> {
    panic::catch(run).map_err(|panic| CallFailure::Panicked(panic.into()))
}

/// Writes a result, and drops it: the value's destructor is the user's code, too.
fn encode_result<R: Serialize>(
    value: R,
    result: &mut Vec<u8>,
    attachments: &mut Attachments,
) -> Result<(), CallFailure> {
    let encoded = caught(|| {
        let encoded = codec::encode_with(&value, result, attachments);
        drop(value);
        encoded
    });
    encoded?.map_err(CallFailure::Encode)
}

/// What is sent of a call.
pub(in crate::process_pool) struct Parcel {
    payload: Vec<u8>,
    attachments: Attachments,
    /// Of the payload. Of a bulk call only when it goes through the stream.
    checksum: OnceLock<u32>,
}

impl Parcel {
    pub(in crate::process_pool) fn payload(&self) -> &[u8] {
        &self.payload
    }

    pub(in crate::process_pool) fn checksum(&self) -> u32 {
        *self.checksum.get_or_init(|| frame::checksum(&self.payload))
    }

    /// Returns whether the checksum is there.
    pub(in crate::process_pool) fn has_checksum(&self) -> bool {
        self.checksum.get().is_some()
    }

    /// Returns whether the payload goes through the [region](super::region), if there is one.
    pub(in crate::process_pool) fn is_bulk(&self) -> bool {
        self.payload.len() > BULK && self.attachments.is_empty()
    }

    /// Returns the blobs that go with the payload.
    pub(in crate::process_pool) fn blobs(&self) -> &[Blob] {
        self.attachments.blobs()
    }
}

impl Drop for Parcel {
    fn drop(&mut self) {
        memory::keep(std::mem::take(&mut self.payload));
    }
}

/// A call that was encoded: where its function is, and the arguments.
#[derive(Clone)]
pub(in crate::process_pool) struct Call {
    parcel: Arc<Parcel>,
}

/// Encoded arguments with more unused capacity are shrunk.
const MAX_SPARE: usize = 64 << 10;

/// The function's place comes first.
const OFFSET: usize = size_of::<u64>();

impl Call {
    /// Makes a call of `F`.
    pub(in crate::process_pool) fn of<F, A>(_: F, args: A, max_size: usize) -> Result<Self, TaskError>
    where
        F: Callable<A>,
        F::Output: Serialize,
        A: Serialize + DeserializeOwned,
    {
        registry::register!(run::<F, A>);
        Self::encode(run::<F, A>, args, max_size)
    }

    /// Makes a call of `F` whose submitter listens to values of the type `P`.
    pub(in crate::process_pool) fn listened_to<F, A, P>(_: F, args: A, max_size: usize) -> Result<Self, TaskError>
    where
        F: Callable<A>,
        F::Output: Serialize,
        A: Serialize + DeserializeOwned,
        P: 'static,
    {
        registry::register!(run_listened_to::<F, A, P>);
        Self::encode(run_listened_to::<F, A, P>, args, max_size)
    }

    /// Makes a call of `F` for each item.
    pub(in crate::process_pool) fn of_chunk<F, I>(_: F, items: Vec<I>, max_size: usize) -> Result<Self, TaskError>
    where
        F: Callable<(I,)>,
        F::Output: Serialize,
        I: Serialize + DeserializeOwned,
    {
        registry::register!(run_chunk::<F, I>);
        Self::encode(run_chunk::<F, I>, items, max_size)
    }

    /// Makes a call of an initializer.
    pub(in crate::process_pool) fn of_initializer<F, A>(_: F, args: A, max_size: usize) -> Result<Self, TaskError>
    where
        F: Callable<A>,
        F::Output: Initialized,
        A: Serialize + DeserializeOwned,
    {
        registry::register!(run_initializer::<F, A>);
        Self::encode(run_initializer::<F, A>, args, max_size)
    }

    fn encode<A: Serialize>(thunk: Thunk, args: A, max_size: usize) -> Result<Self, TaskError> {
        let place = Identity::of_this().offset_of(thunk as usize);
        let place = place.map_err(|error: NotHere| TaskError::Encode(CodecError::new(error.to_string())))?;
        let mut attachments = Attachments::none();
        let encoded = panic::catch(|| {
            let mut payload = Vec::with_capacity(OFFSET + size_of::<A>());
            payload.extend(place.to_le_bytes());
            let encoded = codec::encode_with(&args, &mut payload, &mut attachments);
            // The destructors of the arguments are the user's code, too.
            drop(args);
            encoded.map(|()| payload)
        });
        let mut payload = encoded.map_err(TaskError::Panicked)?.map_err(TaskError::Encode)?;
        if payload.capacity() - payload.len() > MAX_SPARE {
            payload.shrink_to_fit();
        }
        if payload.len() > max_size {
            return Err(TaskError::Encode(too_long("the arguments take", payload.len(), max_size, type_name::<A>())));
        }
        let parcel = Parcel { payload, attachments, checksum: OnceLock::new() };
        if !parcel.is_bulk() {
            // Here, and not on the thread that sends it.
            parcel.checksum();
        }
        Ok(Self { parcel: Arc::new(parcel) })
    }

    pub(in crate::process_pool) fn parcel(&self) -> &Arc<Parcel> {
        &self.parcel
    }

    pub(in crate::process_pool) fn payload(&self) -> &[u8] {
        self.parcel.payload()
    }

    /// Returns the encoded arguments, which are behind the function's place.
    pub(in crate::process_pool) fn arguments(payload: &[u8]) -> &[u8] {
        payload.get(OFFSET..).unwrap_or_default()
    }

    /// Returns the function that a worker runs for this payload. `None` if there is no such function here.
    pub(in crate::process_pool) fn read(payload: &[u8]) -> Option<Thunk> {
        let place = payload.first_chunk::<OFFSET>()?;
        let address = Identity::of_this().address_of(u64::from_le_bytes(*place))?;
        if !registry::contains(address) {
            return None;
        }
        // SAFETY:
        // - it is a registered thunk; or, where there is no registry, the parent runs the same build (the handshake),
        //   in which this place is that of a thunk: it comes from a `Call`, behind a checksum.
        Some(unsafe { std::mem::transmute::<usize, Thunk>(address) })
    }
}

/// Makes the error of a message that is longer than the pool allows.
pub(in crate::process_pool) fn too_long(what: &str, bytes: usize, max_size: usize, data: &str) -> CodecError {
    CodecError::new(format!("{what} {bytes} bytes, and `max_message_size` is {max_size} ({data})"))
}

/// The function that puts a result into its task's cell.
pub(in crate::process_pool) type Complete = unsafe fn(&TaskRef, CallResult) -> Option<Then>;

/// How a call ended.
pub(in crate::process_pool) enum CallResult {
    /// A value, encoded in these bytes from `start` on, and its blobs.
    Value { bytes: Vec<u8>, start: usize, attached: Attached },
    /// An error.
    Error(TaskError),
}

impl CallResult {
    /// Puts the result of the call into its cell. A value is read when a thread asks for it.
    ///
    /// # Safety
    ///
    /// The cell's result is of the type `T`, and the caller claimed the task.
    unsafe fn put<T>(self, task: &TaskRef, read: ReadReply<T>) -> Option<Then> {
        let given = match self {
            Self::Value { bytes, start, attached } => {
                let process = if let Some(Runner::Process(pid)) = task.runner() { pid } else { 0 };
                Ok(Reply { bytes, start, attached, process, read })
            }
            Self::Error(error) => Err(error),
        };
        // SAFETY:
        // - the caller's contract; the cell is that of a call.
        unsafe { task.put_quietly::<Replied<T>>(given) }
    }
}

/// Reads a value: that runs the user's code.
fn read<V: DeserializeOwned>(bytes: &[u8], attached: &mut Attached) -> Result<V, TaskError> {
    match panic::catch(|| codec::decode_with::<V>(bytes, attached)) {
        Ok(decoded) => decoded.map_err(TaskError::Decode),
        Err(panic) => Err(TaskError::Panicked(panic)),
    }
}

/// Puts the result of a call into the cell of its task, which the caller claimed.
///
/// # Safety
///
/// The cell was made for a call, and its result is of the type `T`.
pub(in crate::process_pool) unsafe fn complete<T: DeserializeOwned>(
    task: &TaskRef,
    result: CallResult,
) -> Option<Then> {
    // SAFETY:
    // - the caller's contract.
    unsafe { result.put(task, |bytes, attached, _| read::<T>(bytes, attached)) }
}

/// Puts the results of a chunk into the cell of its task, which the caller claimed.
///
/// # Safety
///
/// The cell was made for a call, and its result is a `Results<T>`.
pub(in crate::process_pool) unsafe fn complete_chunk<T: DeserializeOwned>(
    task: &TaskRef,
    result: CallResult,
) -> Option<Then> {
    fn read_chunk<T: DeserializeOwned>(
        bytes: &[u8],
        attached: &mut Attached,
        process: u32,
    ) -> Result<Results<T>, TaskError> {
        let of_item =
            |result: Result<T, RemotePanic>| result.map_err(|panic| TaskError::Panicked(panic.into_info(process)));
        read::<Vec<Result<T, RemotePanic>>>(bytes, attached).map(|results| results.into_iter().map(of_item).collect())
    }
    // SAFETY:
    // - the caller's contract.
    unsafe { result.put(task, read_chunk::<T>) }
}
