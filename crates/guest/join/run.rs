//! How a program is run with no Python frame below its own.
//!
//! The harness is Python, and whatever Python calls has its caller's frame below: visible in `sys._getframe(1)`, in
//! `inspect.stack()`, in `warnings.warn(…, stacklevel=2)`, and counted against the recursion limit. So the harness lets
//! the interpreter come to its end first, where it calls `threading._shutdown` from C (Python 3.8 to 3.11: with the
//! interpreter still entirely intact), and has put [`rf_run`] there.

use core::ffi::c_void;

/// Levels of recursion that the call of [`rf_run`] counts as, through a `functools.partial` of a ctypes function. The
/// program begins at level 0, as it does under `python3 program.py`.
const CALLED_THROUGH: usize = 2;

/// Some Python object, borrowed.
type Object = *mut c_void;

/// What to run, and Python's own functions for it: this library is linked to no Python.
#[repr(C)]
pub struct Run {
    /// `PyObject_CallNoArgs`
    call: unsafe extern "C" fn(Object) -> Object,
    /// `PyEval_EvalCode`
    evaluate: unsafe extern "C" fn(Object, Object, Object) -> Object,
    /// `Py_LeaveRecursiveCall`
    leave: unsafe extern "C" fn(),
    /// `PyErr_Fetch`
    fetch: unsafe extern "C" fn(*mut Object, *mut Object, *mut Object),
    /// `PyErr_NormalizeException`
    normalize: unsafe extern "C" fn(*mut Object, *mut Object, *mut Object),
    /// Called first, without arguments.
    begin: Object,
    code: Object,
    globals: Object,
    /// Called last; does not return.
    end: Object,
    /// What the program was ended by: type, value and traceback, owned; all null when it came to its end.
    error: [Object; 3],
}

/// Runs a program: `begin()`, then the code, then `end()`, which exits.
///
/// # Safety
/// The caller holds the interpreter's lock and is [`CALLED_THROUGH`] levels of recursion deep. Every field is what its comment says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rf_run(run: *mut Run) -> i32 {
    // SAFETY: the caller passes its own, which nobody else touches meanwhile but `end`, when this has stopped writing.
    unsafe {
        if !((*run).call)((*run).begin).is_null() {
            for _ in 0..CALLED_THROUGH {
                ((*run).leave)();
            }
            if ((*run).evaluate)((*run).code, (*run).globals, (*run).globals).is_null() {
                let [kind, value, traceback] = &mut (*run).error;
                ((*run).fetch)(kind, value, traceback);
                ((*run).normalize)(kind, value, traceback);
            }
            ((*run).call)((*run).end);
        }
    }
    crate::raw::exit(1)
}
