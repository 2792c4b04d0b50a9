//go:build !linux

package authorize

import (
	"errors"
	"net"
)

func peerOf(*net.UnixConn) (peer, error) { return peer{}, errors.ErrUnsupported }
