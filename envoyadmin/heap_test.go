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

// TestTwoHundredMegabytesNeedSixtyFourBesideThem bounds everything that reading a
// dump of 5 000 Services and two calls on it ever allocate, freed or not: so no
// moment of it can need more.
func TestTwoHundredMegabytesNeedSixtyFourBesideThem(t *testing.T) {
	data := fiveThousand(t)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	d, err := Read("gateway", data)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"svc-00500.example.com", "svc-04500.example.com"} {
		c := benchCall
		c.Authority = host
		if o := d.Match(c).Outcomes[0]; o.Verdict != Forward || len(o.Endpoints) != 3 {
			t.Fatalf("%s: %+v", host, o)
		}
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 64<<20 {
		t.Errorf("%d MB were allocated beside the %d MB of the dump", got>>20, len(data)>>20)
	} else {
		t.Logf("%d MB were allocated beside the %d MB of the dump", got>>20, len(data)>>20)
	}
	runtime.KeepAlive(data)
}
