//! How a Node whose program is over leaves at once: `node.cjs` loads this library as an addon and calls what it exports with the exit
//! code, as the last thing of all.
//!
//! `exit(3)`, which Node calls otherwise, joins its threads and takes its heap apart first, and that lasts longer than most programs
//! do. The kernel needs none of it. Freestanding like the join library: nothing of the template's libc is used, and nothing of Node
//! but its Node-API (<https://nodejs.org/api/n-api.html>), whose ABI is stable.
#![no_std]

use core::{
    arch::asm,
    ffi::{c_char, c_void},
    ptr,
};

/// `napi_status`: 0 is `napi_ok`.
type Status = i32;
type Env = *mut c_void;
type Value = *mut c_void;
type CallbackInfo = *mut c_void;
type Callback = unsafe extern "C" fn(Env, CallbackInfo) -> Value;

unsafe extern "C" {
    fn napi_create_function(
        env: Env,
        name: *const c_char,
        length: usize,
        callback: Callback,
        data: *mut c_void,
        result: *mut Value,
    ) -> Status;
    fn napi_get_cb_info(
        env: Env,
        info: CallbackInfo,
        count: *mut usize,
        arguments: *mut Value,
        this: *mut Value,
        data: *mut *mut c_void,
    ) -> Status;
    fn napi_get_value_int32(env: Env, value: Value, result: *mut i32) -> Status;
}

/// What Node calls when it loads an addon. The addon's exports are one function: `leave(code)`.
///
/// # Safety
/// Called by Node alone, with its environment.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn napi_register_module_v1(env: Env, exports: Value) -> Value {
    let mut function = ptr::null_mut();
    // SAFETY: `env` is Node's; the name is not read where its length is 0.
    let status = unsafe { napi_create_function(env, c"".as_ptr(), 0, leave, ptr::null_mut(), &raw mut function) };
    if status == 0 { function } else { exports }
}

/// Ends the process, all threads of it, with that code. Returns only when it was called with something else than a number.
unsafe extern "C" fn leave(env: Env, info: CallbackInfo) -> Value {
    let (mut count, mut argument, mut code) = (1, ptr::null_mut(), 0);
    // SAFETY: both are Node's, and there is room for one argument; Node sets it to `undefined` where none was given.
    let known = unsafe {
        napi_get_cb_info(env, info, &raw mut count, &raw mut argument, ptr::null_mut(), ptr::null_mut()) == 0
            && napi_get_value_int32(env, argument, &raw mut code) == 0
    };
    if known {
        exit_group(code);
    }
    ptr::null_mut()
}

/// `exit_group(2)`, on x86_64.
fn exit_group(code: i32) {
    const EXIT_GROUP: usize = 231;
    // SAFETY: it does not return; were it refused, registers are as after any system call.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") EXIT_GROUP => _,
            in("rdi") code as isize,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        exit_group(111);
    }
}
