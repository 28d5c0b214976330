package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"time"
)

// The Pods that hoptrail makes with --node-debug are the only ones whose
// containers the lab really runs: each one's command, once, in the network
// namespace of the Pod's node, as a container with the host's network would. What
// it printed is its log, and its exit status stands in the Pod's status.

const debugPods = "app.kubernetes.io/managed-by=hoptrail"

// SetDebugPods makes the Pods of --node-debug fail: with Hang they never start,
// with Half their programs end with status 1.
func (l *Lab) SetDebugPods(f Fault) { l.debugFault.Store(int32(f)) }

// DebugPods is how many Pods of --node-debug were made since the lab began, and
// the names of those that are there.
func (l *Lab) DebugPods(ctx context.Context) (made int, there []string, err error) {
	data, err := l.admin.do(ctx, http.MethodGet, "/api/v1/pods?labelSelector="+debugPods, nil)
	if err != nil {
		return 0, nil, err
	}
	var list struct{ Items []object }
	if err := json.Unmarshal(data, &list); err != nil {
		return 0, nil, err
	}
	for _, p := range list.Items {
		there = append(there, str(p, "metadata", "namespace")+"/"+str(p, "metadata", "name"))
	}
	return int(l.debugMade.Load()), there, nil
}

// runDebugPods watches for such Pods until the lab ends.
func (l *Lab) runDebugPods() {
	ctx, cancel := context.WithCancel(context.Background())
	l.mu.Lock()
	l.closers = append(l.closers, closerFunc(func() error {
		cancel()
		return nil
	}))
	l.mu.Unlock()
	watcher := newAPI(l.Server(), l.tokens["admin"])
	watcher.http.Timeout = 0
	go func() {
		for ctx.Err() == nil {
			if err := l.watchDebugPods(ctx, watcher); err != nil {
				select {
				case <-ctx.Done():
				case <-time.After(500 * time.Millisecond):
				}
			}
		}
	}()
}

func (l *Lab) watchDebugPods(ctx context.Context, watcher *api) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, watcher.base+"/api/v1/pods?watch=1&labelSelector="+debugPods, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+watcher.token)
	resp, err := watcher.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for dec := json.NewDecoder(resp.Body); ; {
		var event struct {
			Type   string
			Object object
		}
		if err := dec.Decode(&event); err != nil {
			return err
		}
		if phase := str(event.Object, "status", "phase"); event.Type != "ADDED" || phase == "Succeeded" || phase == "Failed" {
			continue
		}
		l.debugMade.Add(1)
		if Fault(l.debugFault.Load()) == Hang {
			continue
		}
		if err := l.runDebugPod(ctx, event.Object); err != nil {
			return err
		}
	}
}

// runDebugPod runs the containers of a Pod to their end.
func (l *Lab) runDebugPod(ctx context.Context, p object) error {
	n := l.nodeOf(str(p, "spec", "nodeName"))
	if host, _ := at(p, "spec", "hostNetwork").(bool); n == nil || !host {
		return nil
	}
	key := str(p, "metadata", "namespace") + "/" + str(p, "metadata", "name")
	containers, _ := at(p, "spec", "containers").([]any)
	var statuses []object
	phase := "Succeeded"
	for _, c := range containers {
		argv := []string{"netns", "exec", n.ns}
		command, _ := at(c, "command").([]any)
		for _, word := range command {
			argv = append(argv, fmt.Sprint(word))
		}
		var out bytes.Buffer
		cmd := exec.CommandContext(ctx, "ip", argv...)
		cmd.Stdout = &out
		err := cmd.Run()
		code := 0
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			code = exit.ExitCode()
		} else if err != nil {
			code = 128
		}
		if Fault(l.debugFault.Load()) == Half {
			code = 1
		}
		if code != 0 {
			phase = "Failed"
		}
		l.mu.Lock()
		l.printed[key+"/"+str(c, "name")] = out.Bytes()
		l.mu.Unlock()
		statuses = append(statuses, object{
			"name": str(c, "name"), "image": str(c, "image"), "imageID": "", "ready": false, "restartCount": 0,
			"state": object{"terminated": object{"exitCode": code, "reason": "Completed"}},
		})
	}
	p["status"] = object{"phase": phase, "hostIP": n.addr.String(), "podIP": n.addr.String(), "containerStatuses": statuses}
	_, err := l.admin.do(ctx, http.MethodPut, "/api/v1/namespaces/"+str(p, "metadata", "namespace")+"/pods/"+str(p, "metadata", "name")+"/status", p)
	if se, ok := errors.AsType[*statusError](err); ok && (se.code == http.StatusNotFound || se.code == http.StatusConflict) {
		return nil // it is gone
	}
	return err
}
