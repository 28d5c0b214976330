package route

import "testing"

func TestXXH64GivesTheKnownSums(t *testing.T) {
	for s, want := range map[string]uint64{
		"":    0xef46db3751d8e999,
		"a":   0xd24ec4f1a98c6e5b,
		"abc": 0x44bc2cf5ad770999,
		"Nobody inspects the spammish repetition": 0xfbcea83c8a378bf1,
	} {
		if got := xxhash64(s); got != want {
			t.Errorf("%q: %#x, want %#x", s, got, want)
		}
	}
}
