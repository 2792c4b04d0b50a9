package body

import (
	"os"

	"github.com/upstreamauth/caddy-upstream-auth/internal/budget"
)

// Defaults of [Limits].
const (
	DefaultMaxBody = 10 << 20 // replay_max_body
	DefaultMemory  = 64 << 10 // replay_memory
)

// Limits bounds the recording of a request's body. The zero value records
// nothing but empty bodies.
type Limits struct {
	// MaxBody is the length, in bytes, of the longest body that is recorded. A
	// longer one is streamed all the same, but cannot be replayed.
	MaxBody int64

	// Memory is how many bytes of a recording are held in memory. What comes
	// after them goes to Shared, and to a file.
	Memory int64

	// Shared is what all recordings together may hold in memory besides; nil: nothing.
	Shared *SharedMemory

	// Dir is the directory of those files, made when one is needed. With
	// "" there are none, and up to MaxBody bytes are held in memory.
	Dir string

	// Room is what is left free of Dir's file system; nil: nothing has to be.
	Room *Room

	// Account is whose recording it is. What is over its budget for memory goes to the
	// file, and what is over that for files is not recorded.
	Account budget.Account
}

// DefaultLimits returns the limits of a configuration that sets none: 10 MiB,
// 64 KiB of it in memory and the rest in the system's directory for temporary files.
func DefaultLimits() Limits {
	return Limits{MaxBody: DefaultMaxBody, Memory: DefaultMemory, Dir: os.TempDir()}
}

// memory is how many bytes of a recording are held in memory in the end.
func (l Limits) memory() int64 {
	if l.Dir == "" {
		return l.MaxBody
	}
	return min(l.Memory, l.MaxBody)
}
