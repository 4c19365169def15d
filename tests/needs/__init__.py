"""What tests need of the machine and of the kernel they run on, as data; a test says it by a marker:

    @pytest.mark.needs("gdb", "vmlinux")

Without it the test is skipped for that reason. Under `make test`, which installs what its groups of
harness/scripts/debian-packages.txt list, a need that such a package brings fails the test instead.
"""
