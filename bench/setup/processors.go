package setup

import (
	"fmt"
	"os/exec"
	"runtime"
	"strconv"
	"strings"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/process"
)

// Share is one of the two halves into which the processors are divided, so that the
// proxy does not lose time to whoever measures it.
type Share int

// The shares.
const (
	ForProxy Share = iota
	ForOthers
)

// processors is the list for taskset, empty if there are none to share out.
func (s Share) processors() string {
	n := runtime.NumCPU()
	if n < 2 {
		return ""
	}
	first, last := 0, n/2-1
	if s == ForOthers {
		first, last = n/2, n-1
	}
	return fmt.Sprintf("%d-%d", first, last)
}

// Pin returns the command that runs c on the processors of a share.
func (s Share) Pin(c process.Command) process.Command {
	taskset, err := exec.LookPath("taskset")
	if list := s.processors(); err == nil && list != "" {
		c.Args = append([]string{"-c", list, c.Path}, c.Args...)
		c.Path = taskset
	}
	return c
}

// Processors tells how they are shared out.
func Processors() string {
	if runtime.NumCPU() < 2 {
		return "one processor for all"
	}
	count := func(s Share) string {
		first, last, _ := strings.Cut(s.processors(), "-")
		a, _ := strconv.Atoi(first)
		b, _ := strconv.Atoi(last)
		return strconv.Itoa(b - a + 1)
	}
	return fmt.Sprintf("%s of %d processors for the proxy, %s for upstream and load", count(ForProxy), runtime.NumCPU(), count(ForOthers))
}

// PinLast is [Share.Pin] for who has what the others of the share leave.
func (s Share) PinLast(c process.Command) process.Command {
	c = s.Pin(c)
	if nice, err := exec.LookPath("nice"); err == nil {
		c.Args = append([]string{"-n", "19", c.Path}, c.Args...)
		c.Path = nice
	}
	return c
}
