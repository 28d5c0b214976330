package envoyadmin

import (
	"runtime"
	"testing"
)

// TestAnIndexedDumpNeedsLittleBesideItsBytes bounds what reading and a first
// call keep: the limit for 200 MB is 64 MB, and this dump has a fifth of that.
func TestAnIndexedDumpNeedsLittleBesideItsBytes(t *testing.T) {
	data := unzipped(t, corpus+"/scale/gateway-1000.config_dump.json.gz")
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	d, err := Read("gateway", data)
	if err != nil {
		t.Fatal(err)
	}
	if o := d.Match(benchCall).Outcomes[0]; o.Verdict != Forward {
		t.Fatalf("%+v", o)
	}
	after := heap()
	if grown := int64(after) - int64(before); grown > 12<<20 {
		t.Errorf("%d bytes are kept beside the dump's own %d", grown, len(data))
	} else {
		t.Logf("%d KB beside %d MB", grown>>10, len(data)>>20)
	}
	runtime.KeepAlive(d)
	runtime.KeepAlive(data)
}
