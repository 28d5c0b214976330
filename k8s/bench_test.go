package k8s

import (
	"net/netip"
	"testing"
)

// BenchmarkOwners asks a fresh view of 2 000 Services and 10 000 Pods whose an
// address is: the lists are scanned, one Pod is decoded.
func BenchmarkOwners(b *testing.B) {
	lists := cluster(2000, 10000)
	b.SetBytes(int64(len(lists[services]) + len(lists[pods]) + len(lists[nodes])))
	addr := netip.MustParseAddr("10.100.3.7")
	for b.Loop() {
		os, err := New(lists).Owners(b.Context(), addr, 8080, "tcp")
		if err != nil || len(os) != 1 || os[0].Pod == nil {
			b.Fatal(os, err)
		}
	}
}

// BenchmarkOwnersAgain asks a view that has its lists already.
func BenchmarkOwnersAgain(b *testing.B) {
	v := New(cluster(2000, 10000))
	for b.Loop() {
		for _, a := range []string{"10.100.3.7", "10.96.7.3", "172.16.1.1", "192.168.1.50"} {
			os, err := v.Owners(b.Context(), netip.MustParseAddr(a), 30000, "tcp")
			if err != nil || len(os) != 1 {
				b.Fatal(os, err)
			}
		}
	}
}

// BenchmarkPodsSelected finds the five Pods of a Service among 10 000.
func BenchmarkPodsSelected(b *testing.B) {
	v := New(cluster(2000, 10000))
	for b.Loop() {
		ps, err := v.PodsSelected(b.Context(), "", map[string]string{"app": "a-77"})
		if err != nil || len(ps) != 5 {
			b.Fatal(ps, err)
		}
	}
}
