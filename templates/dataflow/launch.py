"""What the launcher of the Flex Template starts; everything else is in the package, which workers have too."""

import sys

from pipelines.dataflow_launch import launch

if __name__ == "__main__":
    sys.exit(launch(sys.argv[1:]))
