// Package runtime is what generated bindings need of memory and handles.
package runtime

import (
	"runtime"
	"unsafe"
)

// Handle is a number that the host gave for a thing of its own.
type Handle struct{ value int32 }

// MakeHandle makes a handle of its number.
func MakeHandle(value int32) *Handle { return &Handle{value} }

// Use answers the number.
func (h *Handle) Use() int32 {
	if h.value == 0 {
		panic("a ref is used after it was dropped")
	}
	return h.value
}

// Take answers the number and forgets it.
func (h *Handle) Take() int32 {
	value := h.Use()
	h.value = 0
	return value
}

// TakeOrNil answers the number, 0 when it is forgotten, and forgets it.
func (h *Handle) TakeOrNil() int32 {
	value := h.value
	h.value = 0
	return value
}

// Set gives a forgotten handle its number again.
func (h *Handle) Set(value int32) { h.value = value }

// Allocate makes memory that stays until the pinner lets it go.
func Allocate(pinner *runtime.Pinner, size, align uintptr) unsafe.Pointer {
	if size == 0 {
		return nil
	}
	var pointer unsafe.Pointer
	if align == 8 {
		pointer = unsafe.Pointer(unsafe.SliceData(make([]uint64, (size+7)/8)))
	} else {
		pointer = unsafe.Pointer(unsafe.SliceData(make([]uint32, (size+3)/4)))
	}
	pinner.Pin(pointer)
	return pointer
}

// early is what memory is taken from before Go's runtime has begun: the state and the stack of the module that gives preview 1 of WASI.
var early [512 << 10]byte

var (
	earlyUsed uintptr
	begun     bool
	returned  runtime.Pinner
)

func init() { begun = true }

// Unpin lets go of what the host has handed over; its values are then held by those who use them.
func Unpin() { returned.Unpin() }

// Go's collector reads the clock, which is a call that may not be made while the host hands memory over.
//
//go:wasmimport wasi_snapshot_preview1 adapter_monotonic_clock_set_paused
func pauseClock(paused bool)

//go:wasmexport cabi_realloc
func cabiRealloc(old unsafe.Pointer, oldSize, align, size uintptr) unsafe.Pointer {
	if !begun {
		base := uintptr(unsafe.Pointer(&early))
		start := (base+earlyUsed+align-1)&^(align-1) - base
		if start+size > uintptr(len(early)) {
			panic("memory before the runtime has begun")
		}
		earlyUsed = start + size
		return unsafe.Add(unsafe.Pointer(&early), start)
	}
	pauseClock(true)
	pointer := Allocate(&returned, size, align)
	if old != nil {
		copy(unsafe.Slice((*byte)(pointer), size), unsafe.Slice((*byte)(old), min(oldSize, size)))
	}
	pauseClock(false)
	return pointer
}
