package body

import (
	"fmt"
	"os"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

// chunksOut counts the chunks that are taken and not given back.
var chunksOut atomic.Int64

// TestMain poisons every chunk that is given back, so that a test sees who reads
// one too long, and fails if any test leaves a goroutine or a chunk behind.
func TestMain(m *testing.M) {
	TestHook = func(buf []byte, taken int) {
		chunksOut.Add(int64(taken))
		if taken < 0 {
			for i := range buf {
				buf[i] = 0xDB
			}
		}
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if n := chunksOut.Load(); code == 0 && n != 0 {
			fmt.Fprintf(os.Stderr, "%d chunks were never given back\n", n)
			code = 1
		}
		os.Exit(code)
	}))
}
