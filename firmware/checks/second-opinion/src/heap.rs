//! A heap of fixed size in static memory, which says how much of it was used.

#![expect(unsafe_code, reason = "an allocator is unsafe by its trait")]

use core::alloc::{GlobalAlloc, Layout};
use core::sync::atomic::{AtomicUsize, Ordering};

use embedded_alloc::LlffHeap;

/// Bytes of the heap.
pub const SIZE: usize = 3 << 20;

/// The program's only allocator.
#[global_allocator]
pub static HEAP: Heap = Heap {
    heap: LlffHeap::empty(),
    peak: AtomicUsize::new(0),
};

/// An allocator that remembers the most that it has given away.
pub struct Heap {
    heap: LlffHeap,
    peak: AtomicUsize,
}

impl Heap {
    /// Gives the heap its memory. To be called once, before anything allocates.
    pub fn start(&self) {
        let heap = &self.heap;
        // SAFETY: the macro's static memory is used for nothing else, and the
        // caller starts the heap once.
        unsafe {
            embedded_alloc::init!(heap, SIZE);
        }
    }

    /// Bytes in use at once, at most, since the last call of this.
    pub fn take_peak(&self) -> usize {
        self.peak.swap(self.heap.used(), Ordering::Relaxed)
    }
}

// SAFETY: all memory comes from `LlffHeap`, as it hands it out.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        let memory = unsafe { self.heap.alloc(layout) };
        self.peak.fetch_max(self.heap.used(), Ordering::Relaxed);
        memory
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { self.heap.dealloc(memory, layout) }
    }
}
