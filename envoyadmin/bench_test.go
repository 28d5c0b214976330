package envoyadmin

import (
	"net/netip"
	"os"
	"testing"

	"github.com/hoptrail/hoptrail/envoyadmin/internal/scale"
)

// fiveThousand is a gateway's dump for 5 000 Services, 201 MB. HOPTRAIL_DUMP names
// a file to write it to, for measuring whole programs.
func fiveThousand(tb testing.TB) []byte {
	tb.Helper()
	data, err := scale.Grow(unzipped(tb, corpus+"/scale/gateway-1000.config_dump.json.gz"), 5)
	if err != nil {
		tb.Fatal(err)
	}
	if len(data) < 200_000_000 {
		tb.Fatalf("%d bytes", len(data))
	}
	if file := os.Getenv("HOPTRAIL_DUMP"); file != "" {
		if err := os.WriteFile(file, data, 0o644); err != nil {
			tb.Fatal(err)
		}
	}
	return data
}

// BenchmarkTwoHundredMegabytes is what a 201 MB dump costs: indexing it, and a
// call on it once it is indexed, for a host that exists and one that does not.
func BenchmarkTwoHundredMegabytes(b *testing.B) {
	data := fiveThousand(b)
	b.Run("index", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Read("gateway", data); err != nil {
				b.Fatal(err)
			}
		}
	})
	d, err := Read("gateway", data)
	if err != nil {
		b.Fatal(err)
	}
	for name, host := range map[string]string{"hit": "svc-04500.example.com", "miss": "nosuch.example.com"} {
		b.Run("call/"+name, func(b *testing.B) {
			b.ReportAllocs()
			c := benchCall
			c.Authority = host
			for b.Loop() {
				if o := d.Match(c).Outcomes; len(o) == 0 {
					b.Fatal("no outcome")
				}
			}
		})
	}
}

func BenchmarkReadFortyMegabytes(b *testing.B) {
	data := unzipped(b, corpus+"/scale/gateway-1000.config_dump.json.gz")
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Read("gateway", data); err != nil {
			b.Fatal(err)
		}
	}
}

var benchCall = Call{Address: netip.MustParseAddrPort("10.0.0.1:80"), Authority: "svc-00500.example.com", Path: "/healthz", Source: netip.MustParseAddrPort("10.9.9.9:4000")}

func BenchmarkReadAndFirstCall(b *testing.B) {
	data := unzipped(b, corpus+"/scale/gateway-1000.config_dump.json.gz")
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		d, err := Read("gateway", data)
		if err != nil {
			b.Fatal(err)
		}
		if o := d.Match(benchCall).Outcomes; o[0].Verdict != Forward {
			b.Fatal(o)
		}
	}
}

func BenchmarkAnotherCall(b *testing.B) {
	d, err := Read("gateway", unzipped(b, corpus+"/scale/gateway-1000.config_dump.json.gz"))
	if err != nil {
		b.Fatal(err)
	}
	clusters := unzipped(b, corpus+"/scale/gateway-1000.clusters.json.gz")
	if err := d.AddClusters("clusters", clusters); err != nil {
		b.Fatal(err)
	}
	for name, host := range map[string]string{"hit": "svc-00500.example.com", "miss": "nosuch.example.com"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			c := benchCall
			c.Authority = host
			for b.Loop() {
				if o := d.Match(c).Outcomes; len(o) == 0 {
					b.Fatal("no outcome")
				}
			}
		})
	}
}
