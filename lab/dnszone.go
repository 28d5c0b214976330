package lab

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/miekg/dns"
)

// zone is every record the lab's name server knows.
func (l *Lab) zone() (map[string][]dns.RR, error) {
	zone := map[string][]dns.RR{}
	add := func(name, kind string, ttl int, value string) error {
		rr, err := dns.NewRR(fmt.Sprintf("%s %d IN %s %s", dns.Fqdn(name), ttl, kind, value))
		if err != nil {
			return fmt.Errorf("dns.json: %w", err)
		}
		key := strings.ToLower(dns.Fqdn(name))
		zone[key] = append(zone[key], rr)
		return nil
	}
	if data := l.world["dns.json"]; data != nil {
		var file struct {
			Answers []struct {
				Name, Type string
				TTL        int
				Values     []string
			}
		}
		if err := json.Unmarshal(data, &file); err != nil {
			return nil, fmt.Errorf("dns.json: %w", err)
		}
		for _, a := range file.Answers {
			for _, v := range a.Values {
				if err := add(a.Name, a.Type, a.TTL, v); err != nil {
					return nil, err
				}
			}
		}
	}
	services, err := l.world.items("services")
	if err != nil {
		return nil, err
	}
	for _, s := range services {
		if ip := str(s, "spec", "clusterIP"); ip != "" && ip != "None" {
			name := str(s, "metadata", "name") + "." + str(s, "metadata", "namespace") + ".svc.cluster.local"
			if err := add(name, "A", 5, ip); err != nil {
				return nil, err
			}
		}
	}
	return zone, nil
}
