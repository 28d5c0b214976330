package live

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/hoptrail/hoptrail/trace"
)

// podFile runs a program in a Pod's own network namespace. All its containers
// share that; the proxy's comes first, because it is the one with the tools.
func (s *Source) podFile(ctx context.Context, q trace.Query) ([]byte, error) {
	commands := podCommands[q.File]
	if commands == nil {
		return nil, fmt.Errorf("nothing prints %s of a Pod", q.File)
	}
	pod, err := s.pod(ctx, q.Namespace, q.Name)
	if err != nil {
		return nil, err
	}
	if pod.Status.Phase != "Running" {
		return nil, fmt.Errorf("the Pod %s/%s is %s: nothing can be run in it", q.Namespace, q.Name, orUnknown(pod.Status.Phase))
	}
	containers := pod.containers()
	first := pod.proxyContainer()
	slices.SortStableFunc(containers, func(a, b string) int {
		return boolInt(b == first) - boolInt(a == first)
	})
	const most = 6 // execs; an exec is a process on somebody's machine
	tries := 0
	var why error
	for _, c := range commands {
		for _, container := range containers {
			if tries++; tries > most {
				break
			}
			data, err := s.exec(ctx, q.Namespace, q.Name, container, s.opts.MaxBytes, c.argv...)
			if err == nil {
				if c.convert != nil {
					return c.convert(data)
				}
				return data, nil
			}
			var api *apiError
			if ctx.Err() != nil || errors.As(err, &api) && (api.code == http.StatusForbidden || api.code == http.StatusNotFound) {
				return nil, err
			}
			var failed *execError
			if !errors.As(err, &failed) {
				return nil, err
			}
			// A program that was there and failed says more than one that was not.
			if why == nil || !failed.missing {
				why = err
			}
		}
	}
	if why == nil {
		why = fmt.Errorf("the Pod %s/%s has no running container", q.Namespace, q.Name)
	}
	return nil, why
}

func orUnknown(phase string) string {
	if phase == "" {
		return "in an unknown phase"
	}
	return phase
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

type command struct {
	argv    []string
	convert func([]byte) ([]byte, error)
}

// podCommands are the programs behind the files of a Pod, the best first.
var podCommands = map[string][]command{
	"iptables-save.txt":        {{argv: []string{"iptables-save", "-c"}}},
	"iptables-legacy-save.txt": {{argv: []string{"iptables-legacy-save", "-c"}}},
	"iptables-nft-save.txt":    {{argv: []string{"iptables-nft-save", "-c"}}},
	"ip6tables-save.txt":       {{argv: []string{"ip6tables-save", "-c"}}},
	"nft-ruleset.json":         {{argv: []string{"nft", "-j", "list", "ruleset"}}},
	"ip-addr.json":             {{argv: []string{"ip", "-j", "addr"}}},
	"ip-route.json":            {{argv: []string{"ip", "-j", "route"}}},
	"conntrack.txt":            {{argv: []string{"conntrack", "-L"}}},
	"resolv.conf":              {{argv: []string{"cat", "/etc/resolv.conf"}}},
	"ss.txt": {
		{argv: []string{"ss", "-tlnp"}},
		// Every image that can run anything can print this file.
		{argv: []string{"cat", "/proc/net/tcp", "/proc/net/tcp6"}, convert: sockets},
		{argv: []string{"cat", "/proc/net/tcp"}, convert: sockets},
	},
}

// sockets writes /proc/net/tcp and tcp6 the way `ss -tln` prints listening
// sockets (proc_pid_net(5): addresses in host byte order, state 0A is LISTEN).
func sockets(data []byte) ([]byte, error) {
	var out bytes.Buffer
	out.WriteString("State  Recv-Q Send-Q Local Address:Port  Peer Address:PortProcess\n")
	heads := 0
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) > 3 && f[0] == "sl" {
			heads++
			continue
		}
		if len(f) < 4 || f[3] != "0A" {
			continue
		}
		local, ok := procAddr(f[1])
		if !ok {
			return nil, fmt.Errorf("/proc/net/tcp: %q is no address", f[1])
		}
		peer := "0.0.0.0:*"
		name := local.String()
		if local.Addr().Is6() {
			peer = "[::]:*"
			if local.Addr().IsUnspecified() {
				// The file does not tell IPV6_V6ONLY; a wildcard normally takes both.
				name, peer = "*:"+strconv.Itoa(int(local.Port())), "*:*"
			}
		}
		fmt.Fprintf(&out, "%-6s %-6d %-6d %20s %20s\n", "LISTEN", 0, 0, name, peer)
	}
	if heads == 0 {
		return nil, errors.New("/proc/net/tcp: no heading")
	}
	return out.Bytes(), nil
}

func procAddr(s string) (netip.AddrPort, bool) {
	addr, port, ok := strings.Cut(s, ":")
	raw, err := hex.DecodeString(addr)
	p, err2 := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil || err2 != nil || len(raw) != 4 && len(raw) != 16 {
		return netip.AddrPort{}, false
	}
	// Words of 32 bits as the kernel holds them; every machine that runs
	// Kubernetes is little-endian but s390x.
	for i := 0; i < len(raw); i += 4 {
		binary.BigEndian.PutUint32(raw[i:], binary.LittleEndian.Uint32(raw[i:]))
	}
	a, _ := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(a, uint16(p)), true
}
