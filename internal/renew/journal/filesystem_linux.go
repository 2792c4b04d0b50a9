package journal

import (
	"os"
	"syscall"
)

// fileSystems are those worth a word, by their magic number (statfs(2)).
var fileSystems = map[uint32]FileSystem{
	0x00006969: {Name: "NFS", Remote: true},
	0x0000517b: {Name: "SMB", Remote: true},
	0xff534d42: {Name: "CIFS", Remote: true},
	0xfe534d42: {Name: "SMB 2", Remote: true},
	0x5346414f: {Name: "AFS", Remote: true},
	0x00c36400: {Name: "Ceph", Remote: true},
	0x0bd00bd0: {Name: "Lustre", Remote: true},
	0x01021997: {Name: "9p", Remote: true},
	0x01021994: {Name: "tmpfs", Volatile: true},
	0x858458f6: {Name: "ramfs", Volatile: true},
}

// fileSystemOf returns what a file lies on.
func fileSystemOf(file *os.File) FileSystem {
	var stat syscall.Statfs_t
	if err := syscall.Fstatfs(int(file.Fd()), &stat); err != nil {
		return FileSystem{}
	}
	return fileSystems[uint32(stat.Type)]
}
