// Package archtest holds the tests that keep the picture of ARCHITECTURE.md
// true: which package may import which, that each says what it knows and must
// not know, and that nothing prints or asks the clock behind its caller's back.
//
// It knows the source tree as text. It has no code of its own, and nothing may
// import it.
package archtest
