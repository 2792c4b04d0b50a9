package process

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Memory is what a process takes of RAM, in bytes.
type Memory struct {
	Resident  int64 // all of it: VmRSS of /proc/PID/status
	Anonymous int64 // without the pages of files: RssAnon
}

// Memory returns what the process takes now.
func (p *Process) Memory() (Memory, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid()))
	if err != nil {
		return Memory{}, err
	}
	var m Memory
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		field := map[string]*int64{"VmRSS": &m.Resident, "RssAnon": &m.Anonymous}[name]
		if field == nil {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return Memory{}, err
		}
		*field = n << 10
	}
	if m.Resident == 0 || m.Anonymous == 0 {
		return Memory{}, fmt.Errorf("process %d has no memory", p.Pid())
	}
	return m, nil
}

// Descriptors is how many files and sockets the process has open.
func (p *Process) Descriptors() (int, error) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.Pid()))
	return len(entries), err
}

// Ticks are what the processors of this machine have done since it was started, in units
// of their own.
type Ticks struct{ Busy, All int64 }

// Processors returns what they have done until now: /proc/stat.
func Processors() (Ticks, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return Ticks{}, err
	}
	// user, nice, system, idle, iowait, irq, softirq, steal; what guests took is in user.
	line, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 {
		return Ticks{}, fmt.Errorf("/proc/stat begins with %q", line)
	}
	var t Ticks
	for i, field := range fields[1:9] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return Ticks{}, err
		}
		t.All += n
		if i != 3 && i != 4 {
			t.Busy += n
		}
	}
	return t, nil
}

// Since is the share of its time that a machine was busy since earlier, from 0 to 1.
func (t Ticks) Since(earlier Ticks) float64 {
	if t.All == earlier.All {
		return 0
	}
	return float64(t.Busy-earlier.Busy) / float64(t.All-earlier.All)
}
