#!/bin/sh
# pkgconfig.sh PREFIX VERSION "LIBRARIES": libglide's pkg-config file; the libraries are for static links alone.
cat <<END
prefix=$1
libdir=\${prefix}/lib
includedir=\${prefix}/include

Name: glide
Description: text to pictures by two diffusion models
Version: $2
Cflags: -I\${includedir}
Libs: -L\${libdir} -lglide
Libs.private: $3
END
