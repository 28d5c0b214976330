package envoyadmin

import (
	"sync"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/hoptrail/hoptrail/envoyadmin/internal/decode"
	"github.com/hoptrail/hoptrail/envoyadmin/internal/jsonscan"
	"github.com/hoptrail/hoptrail/envoyadmin/route"
)

// routeEntry is a route table: indexed when first asked, its virtual hosts
// decoded one by one.
type routeEntry struct {
	entry
	inline bool

	once  sync.Once
	table *route.Table
	hosts []host
	err   error
}

// host is where a virtual host stands in the dump.
type host struct {
	from, to int
	domains  []string
	once     *sync.Once
	decoded  *routev3.VirtualHost
	err      error
}

// load indexes the table's virtual hosts by name and domain.
func (d *Dump) load(r *routeEntry) error {
	r.once.Do(func() { r.err = d.loadRoutes(r) })
	return r.err
}

func (d *Dump) loadRoutes(r *routeEntry) error {
	b := d.data
	rc := &routev3.RouteConfiguration{}
	isHosts := func(key string) bool { return key == "virtual_hosts" || key == "virtualHosts" }
	err := decode.Fields(b[r.from:r.to], rc, func(key string) bool { return isHosts(key) || key == "@type" })
	if err != nil {
		return err
	}
	at, err := jsonscan.Field(b, r.from, "virtual_hosts", "virtualHosts")
	if err != nil {
		return err
	}
	if at >= 0 && b[at] == '[' {
		_, err = jsonscan.Array(b, at, func(_, at int) (int, error) {
			if b[at] != '{' {
				return 0, nil
			}
			end, err := jsonscan.Value(b, at)
			r.hosts = append(r.hosts, host{from: at, to: end, once: new(sync.Once)})
			return end, err
		})
		if err != nil {
			return err
		}
	}
	r.table = &route.Table{Config: rc, Hosts: route.NewIndex(len(r.hosts))}
	for i := range r.hosts {
		h := &r.hosts[i]
		name, need := "", 2
		var list []string
		_, err := jsonscan.Object(b, h.from, func(k []byte, at int) (int, error) {
			var end int
			var err error
			switch string(k) {
			case "name":
				name = jsonscan.Text(b, at)
				need--
			case "domains":
				need--
				if b[at] != '[' {
					break
				}
				end, err = jsonscan.Array(b, at, func(_, at int) (int, error) {
					list = append(list, jsonscan.Text(b, at))
					return 0, nil
				})
			}
			if need == 0 && err == nil {
				return end, errEnough
			}
			return end, err
		})
		if err != nil && err != errEnough {
			return err
		}
		h.domains = list
		r.table.Hosts.Add(name, list...)
	}
	return nil
}

// errEnough ends a walk that found what it wanted.
var errEnough = &jsonscan.Error{Msg: "enough"}

// virtualHost decodes the i-th virtual host.
func (d *Dump) virtualHost(r *routeEntry, i int) (*routev3.VirtualHost, error) {
	h := &r.hosts[i]
	h.once.Do(func() {
		vh := &routev3.VirtualHost{}
		h.err = decode.JSON(d.data[h.from:h.to], vh)
		h.decoded = vh
	})
	return h.decoded, h.err
}
