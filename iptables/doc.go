// Package iptables evaluates packets against saved netfilter rules as the Linux kernel does.
package iptables
