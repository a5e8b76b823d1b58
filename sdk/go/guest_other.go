//go:build !wasm

package pintle

// Export makes a frontend the component's. Call it in an init function of the program. Outside of a component it does nothing.
func Export(Frontend) {}
